"""Events and what is kept about them, to look at."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from core.registry import Registry
from ingestion.models import LARGE_COLUMNS, VIEW_PAYLOAD, Event, EventType, ProcessingFailure
from ingestion.operations.requeue import requeue_failures
from organizations.audit import actor_of
from organizations.read_only_admin import OrganizationFilter, ReadOnlyAdmin, pretty_json

# What rooms above show of an event's way, in its page.
parts_of_event: Registry[Callable[[Event], SafeString]] = Registry()
_METADATA = (
    "id",
    "organization",
    "type",
    "source",
    "subject",
    "time",
    "received_at",
    "status",
    "idempotency_key",
)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    heavy_fields = LARGE_COLUMNS
    list_display = ("type", "organization", "status", "subject", "received_at", "id")
    list_filter = (OrganizationFilter,)
    list_select_related = ("organization",)
    readonly_fields = ("status", "deliveries", "pretty_data", "no_data")
    search_fields = ("id",)
    search_help_text = "A whole id; or, with an organization chosen, the start of a type."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return Event.objects.with_status()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return self.find_by_id_or_prefix(request, queryset, search_term, prefix_of="type")

    @admin.display(description="Deliveries")
    def deliveries(self, event: Event) -> SafeString:
        address = reverse("console:event", args=[event.organization.slug, event.pk])
        parts = format_html_join("", "{}", ((part(event),) for part in parts_of_event))
        return format_html('{}<p><a href="{}">What became of it, in the console</a></p>', parts, address)

    @admin.display(description="Status")
    def status(self, event: Any) -> str:
        return str(event.status)

    def get_fields(self, request: HttpRequest, obj: Event | None = None) -> tuple[str, ...]:
        """The data only for whoever may read it."""
        return (*_METADATA, "deliveries", "pretty_data" if request.user.has_perm(VIEW_PAYLOAD) else "no_data")

    @admin.display(description="Data")
    def no_data(self, event: Event) -> str:
        return (
            "Your account may not read the data of events. A superuser can grant you the permission “Can read the data "
            "of tenants' events”, or add you to the group support."
        )

    @admin.display(description="Data")
    def pretty_data(self, event: Event) -> SafeString:
        return pretty_json(event.data)


@admin.register(EventType)
class EventTypeAdmin(ReadOnlyAdmin):
    heavy_fields = ("description", "schema")
    list_display = ("name", "organization", "validation", "count", "first_seen_at", "last_seen_at")
    list_filter = (OrganizationFilter,)
    list_select_related = ("organization",)
    search_fields = ("name",)
    search_help_text = "With an organization chosen, the start of a type."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return self.find_by_id_or_prefix(request, queryset, search_term, prefix_of="name")


@admin.register(ProcessingFailure)
class ProcessingFailureAdmin(ReadOnlyAdmin):
    actions = ("requeue",)
    list_display = ("event_id", "organization", "attempts", "failed_at", "next_attempt_at", "what")
    list_filter = (OrganizationFilter,)
    list_select_related = ("organization",)

    @admin.display(description="Error")
    def what(self, failure: ProcessingFailure) -> str:
        return failure.error[:80]

    @admin.action(description="Process the selected events again", permissions=["act"])
    def requeue(self, request: HttpRequest, failures: QuerySet[ProcessingFailure]) -> None:
        ids = list(failures.values_list("pk", flat=True)[: self.list_per_page])
        moved = requeue_failures(event_ids=ids, actor=actor_of(request), now=timezone.now())
        self.message_user(request, f"Due again: {moved}.", messages.SUCCESS)
