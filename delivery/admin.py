"""Subscriptions, deliveries and dead letters in the admin: to look at, to hold and to try again."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import display_for_value
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from core.problems import Problem
from delivery import operations
from delivery.admin_queries import COUNTED, LOOKED_AT, dead_letters_by_subscription, newest_ids
from delivery.attempts.records import unpack
from delivery.dead_letter_sides import THEIRS, Fault, side_of
from delivery.delivery_ids import bounds_of_event
from delivery.models import LARGE_COLUMNS, Attempt, Delivery, DeliveryStatus, Subscription, SubscriptionStatus
from delivery.shown_status import held_reason, shown_next_attempt, shown_status
from ingestion.admin import parts_of_event
from ingestion.models import Event
from organizations.audit import actor_of
from organizations.models import Organization
from organizations.read_only_admin import BEFORE, KeysetChangeList, OrganizationFilter, ReadOnlyAdmin, confirmation

ATTEMPTS_SHOWN = 20
DELIVERIES_SHOWN = 20


class HealthFilter(admin.SimpleListFilter):
    title = "health"
    parameter_name = "health"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("failing", "Failing"), *SubscriptionStatus.choices[:-1]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if chosen == "failing":
            return queryset.filter(status=SubscriptionStatus.ACTIVE, failing_since__isnull=False)
        return queryset.filter(status=chosen) if chosen in SubscriptionStatus.values else queryset


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    actions = ("pause", "resume")
    # Secrets are shown nowhere but to their owners; headers may hold tokens.
    exclude = ("secret", "previous_secret", "headers", "auth")
    heavy_fields = LARGE_COLUMNS
    list_display = ("label", "kind", "organization", "status", "failing_since", "last_error", "created_at")
    list_filter = (HealthFilter, OrganizationFilter)
    list_select_related = ("organization",)
    readonly_fields = ("lists",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return Subscription.objects.not_deleted()

    @admin.display(description="Subscription")
    def label(self, subscription: Subscription) -> str:
        return subscription.label

    @admin.display(description="See its")
    def lists(self, subscription: Subscription) -> SafeString:
        deliveries = reverse("admin:delivery_delivery_changelist")
        slug = subscription.organization.slug
        links = [(reverse("console:subscription", args=[slug, subscription.pk]), "Console")]
        links.append((f"{deliveries}?subscription={subscription.pk}", "Deliveries"))
        links.append((f"{deliveries}?subscription={subscription.pk}&status=dead_letter", "Dead letters"))
        return format_html_join(" · ", '<a href="{}">{}</a>', links)

    @admin.action(description="Pause the selected subscriptions", permissions=["act"])
    def pause(self, request: HttpRequest, subscriptions: QuerySet[Subscription]) -> None:
        self._run(request, subscriptions, operations.pause_subscription, "Paused")

    @admin.action(description="Resume the selected subscriptions", permissions=["act"])
    def resume(self, request: HttpRequest, subscriptions: QuerySet[Subscription]) -> None:
        self._run(request, subscriptions, operations.resume_subscription, "Resumed")

    def _run(self, request: HttpRequest, subscriptions: QuerySet[Subscription], operation: Any, said: str) -> None:
        actor, done = actor_of(request), 0
        for subscription in subscriptions.select_related("organization").order_by("pk")[: self.list_per_page]:
            try:
                operation(subscription=subscription, actor=actor)
                done += 1
            except Problem as problem:
                self.message_user(request, f"{subscription}: {problem}", messages.WARNING)
        self.message_user(request, f"{said}: {done}.", messages.SUCCESS)


class SubscriptionFilter(admin.SimpleListFilter):
    """`?subscription=<id>`, reached from a subscription's page; not listed, as there may be thousands."""

    title = "subscription"
    parameter_name = "subscription"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = request.GET.get(self.parameter_name)
        return [(chosen, "This one")] if chosen else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = _uuid(self.value())
        return queryset if chosen is None else queryset.filter(subscription_id=chosen)


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return [(value, label) for value, label in DeliveryStatus.choices if value != DeliveryStatus.HELD]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status=self.value()) if self.value() in DeliveryStatus.values else queryset


class SideFilter(admin.SimpleListFilter):
    """Of dead letters: whose fault (see delivery.dead_letter_sides)."""

    title = "side of dead letters"
    parameter_name = "side"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(side.value, side.value.capitalize()) for side in Fault]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in set(Fault):
            return queryset
        theirs = Q(last_error__in=THEIRS)
        return queryset.filter(theirs if self.value() == Fault.THEIRS else ~theirs, status=DeliveryStatus.DEAD_LETTER)


class DeliveryChangeList(KeysetChangeList):
    """With any filter, the page's ids come from the index by subscription and status: rare rows would hide from the
    primary key among ten million others.
    """

    def page_of(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        chosen = {name: request.GET.get(name) for name in _FILTERS}
        if not any(chosen.values()):
            return rows
        side = Fault(chosen["side"]) if chosen["side"] in set(Fault) else None
        status = DeliveryStatus.DEAD_LETTER if side else chosen["status"]
        ids = newest_ids(
            organization_id=_uuid(chosen[OrganizationFilter.parameter_name]),
            subscription_id=_uuid(chosen["subscription"]),
            statuses=[status] if status in DeliveryStatus.values else [],
            side=side,
            before=_uuid(request.GET.get(BEFORE)),
            limit=self.list_per_page + 1,
        )
        return rows.filter(pk__in=ids)


_FILTERS = ("subscription", "status", "side", OrganizationFilter.parameter_name)


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError as error:
        raise IncorrectLookupParameters from error


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    actions = ("retry",)
    change_list_template = "admin/deliveries.html"
    heavy_fields = ("first_attempt", "first_response", *(f"subscription__{name}" for name in LARGE_COLUMNS))
    exclude = ("status", "next_attempt_at", "first_attempt", "first_response")
    list_display = ("id", "shown", "last_error", "side", "to", "organization", "created_at", "attempts")
    list_filter = (StatusFilter, SideFilter, SubscriptionFilter, OrganizationFilter)
    list_select_related = ("organization", "subscription__organization")
    readonly_fields = ("shown", "next_attempt", "event", "console", "tries")
    search_fields = ("id",)
    search_help_text = "A whole id."

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        listed = path("dead-letters/", wrap(self.dead_letters_page), name="delivery_delivery_dead_letters")
        all_of = path("retry-all/<uuid:pk>/", wrap(self.retry_all_page), name="delivery_delivery_retry_all")
        return [listed, all_of, *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DeliveryChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term:
            return queryset, False
        try:
            return queryset.filter(pk=self.opts.pk.to_python(search_term.strip())), False
        except ValidationError:
            messages.warning(request, "Search for a whole id.")
            return queryset.none(), False

    @admin.display(description="Status")
    def shown(self, delivery: Delivery) -> str:
        now = timezone.now()
        reason = held_reason(delivery, delivery.subscription, now=now)
        status = shown_status(delivery, delivery.subscription, now=now)
        return f"{status.label} ({reason})" if reason else str(status.label)

    @admin.display(description="Next attempt at")
    def next_attempt(self, delivery: Delivery) -> str:
        moment = shown_next_attempt(delivery, delivery.subscription, now=timezone.now())
        # Django formats the moments of columns, not those that methods return.
        return display_for_value(moment, "–")

    @admin.display(description="Subscription")
    def to(self, delivery: Delivery) -> str:
        return delivery.subscription.label

    @admin.display(description="Fault")
    def side(self, delivery: Delivery) -> str:
        return side_of(delivery.last_error).value if delivery.status == DeliveryStatus.DEAD_LETTER else ""

    @admin.display(description="Event")
    def event(self, delivery: Delivery) -> SafeString:
        address = reverse("admin:ingestion_event_change", args=[delivery.event_id])
        return format_html('<a href="{}">{}</a>', address, delivery.event_id)

    @admin.display(description="Console")
    def console(self, delivery: Delivery) -> SafeString | str:
        subscription = delivery.subscription
        if subscription.status == SubscriptionStatus.DELETED:
            return "–"
        slug = subscription.organization.slug
        address = reverse("console:delivery", args=[slug, subscription.pk, delivery.pk])
        return format_html('<a href="{}">What was sent, and what came back</a>', address)

    @admin.display(description=f"Its newest {ATTEMPTS_SHOWN} attempts")
    def tries(self, delivery: Delivery) -> SafeString | str:
        newest = Attempt.objects.for_organization(delivery.organization_id).filter(delivery_id=delivery.pk)
        rows = (
            (each.number, each.started_at.isoformat(" ", "seconds"), each.error or each.status_code, each.duration_ms)
            for each in newest.order_by("-pk").defer("response")[:ATTEMPTS_SHOWN]
        )
        shown: list[tuple[Any, ...]] = [*rows]
        if delivery.first_attempt is not None and len(shown) < ATTEMPTS_SHOWN:
            first = unpack(delivery.first_attempt, event_id=delivery.event_id)
            shown.append((1, first.started_at.isoformat(" ", "seconds"), first.status, delivery.first_duration_ms))
        return format_html_join("", "<p>{}. {}: {} ({} ms)</p>", shown) or "–"

    @admin.action(description="Try the selected deliveries again", permissions=["act"])
    def retry(self, request: HttpRequest, deliveries: QuerySet[Delivery]) -> None:
        actor, now, done = actor_of(request), timezone.now(), 0
        chosen = deliveries.select_related("subscription__organization").order_by("pk")[: self.list_per_page]
        for delivery in chosen:
            try:
                operations.retry_delivery(delivery=delivery, subscription=delivery.subscription, actor=actor, now=now)
                done += 1
            except Problem as problem:
                self.message_user(request, f"{delivery.pk}: {problem}", messages.WARNING)
        self.message_user(request, f"Due again: {done}.", messages.SUCCESS)

    def dead_letters_page(self, request: HttpRequest) -> HttpResponse:
        """Which subscriptions have any, and whose fault they are: `?side=ours&organization__id__exact=<id>`.

        `after=<id>` is the last subscription of the page before.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            chosen = _uuid(request.GET.get(OrganizationFilter.parameter_name))
            after = _uuid(request.GET.get("after"))
        except IncorrectLookupParameters as error:
            raise Http404 from error
        side = Fault(request.GET["side"]) if request.GET.get("side") in set(Fault) else None
        listed, has_more = dead_letters_by_subscription(organization_id=chosen, side=side, after=after)
        context = {
            **self.admin_site.each_context(request),
            "title": "Dead letters",
            "opts": self.opts,
            "listed": listed,
            "has_more": has_more,
            "is_first": after is None,
            "organization": get_object_or_404(Organization, pk=chosen) if chosen else None,
            "chosen_side": side.value if side else "",
            "counted": COUNTED,
            "may_retry": self.has_act_permission(request),
        }
        return TemplateResponse(request, "admin/dead_letters.html", context)

    def retry_all_page(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Says how many there are, and makes them due once that is confirmed."""
        if not self.has_act_permission(request):
            raise PermissionDenied
        subscription = get_object_or_404(Subscription.objects.not_deleted().select_related("organization"), pk=pk)
        back = reverse("admin:delivery_delivery_dead_letters")
        if request.method == "POST":
            found = operations.retry_dead_letters(subscription=subscription, actor=actor_of(request))
            self.message_user(request, f"Due again: {found.retried:,} of {found.total:,}.", messages.SUCCESS)
            return redirect(back)
        dead = operations.dead_letters_of(subscription)
        many = f"more than {dead.number:,}" if dead.has_more else f"{dead.number:,}"
        held = "" if subscription.status == SubscriptionStatus.ACTIVE else " It is not active: they wait until it is."
        return confirmation(
            self,
            request,
            title="Try all dead letters again",
            text=f"{subscription} of {subscription.organization} has {many} dead letters. Each becomes due at once, "
            f"the oldest first, with the whole schedule of retries before it.{held}",
            button="Try all again" if dead.has_more else f"Try {dead.number:,} again",
            back=back,
        )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**(extra_context or {}), "looked_at": LOOKED_AT})


def deliveries_of_event(event: Event) -> SafeString:
    """The oldest DELIVERIES_SHOWN with their status, for the event's page."""
    rows = Delivery.objects.for_organization(event.organization_id).filter(
        pk__range=bounds_of_event(event.pk), event_id=event.pk
    )
    light = rows.select_related("subscription__organization").defer(*DeliveryAdmin.heavy_fields)
    found = list(light.order_by("pk")[: DELIVERIES_SHOWN + 1])
    now = timezone.now()
    lines = (
        (
            reverse("admin:delivery_delivery_change", args=[each.pk]),
            each.subscription.label,
            shown_status(each, each.subscription, now=now).label,
            each.attempts_in_all,
        )
        for each in found[:DELIVERIES_SHOWN]
    )
    shown = format_html_join("", '<p><a href="{}">{}</a>: {}, attempts: {}</p>', lines)
    more = f"Only the first {DELIVERIES_SHOWN} are shown." if len(found) > DELIVERIES_SHOWN else ""
    return format_html("{}<p>{}</p>", shown, more or ("" if found else "None yet."))


parts_of_event.register(deliveries_of_event)
