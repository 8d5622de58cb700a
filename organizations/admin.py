"""Organizations, members, API keys and the audit log. Every change is one operation, with the person as its actor."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters

from core.problems import Problem
from organizations import operations
from organizations.audit import actor_of
from organizations.keys.scopes import Scope
from organizations.models import ApiKey, AuditEntry, Membership, Organization
from organizations.operations import IssuedKey
from organizations.read_only_admin import ModelAdmin, OrganizationFilter, ReadOnlyAdmin, confirmation, pretty_json
from organizations.usage import EXPIRES_SOON, active_keys, usage_of
from organizations.versioned_admin import VersionedAdmin

# Time enough to put the successor in place; `revoke` ends a key at once.
ROTATION_OVERLAP = timedelta(hours=24)
# The longest text in which a key is looked for.
MAX_PASTED = 20_000

# Lists of other apps that an organization's page leads to; a room above knows this one, never the other way round.
_LISTS = (
    ("Members", "organizations_membership_changelist"),
    ("API keys", "organizations_apikey_changelist"),
    ("Events", "ingestion_event_changelist"),
    ("Event types", "ingestion_eventtype_changelist"),
    ("Subscriptions", "delivery_subscription_changelist"),
    ("Deliveries", "delivery_delivery_changelist"),
    ("Dead letters", "delivery_delivery_dead_letters"),
    ("Audit log", "organizations_auditentry_changelist"),
)
# What a new organization needs.
_NEXT = (("console:keys", "issue an API key"), ("console:members", "invite its members"))
_HELP = {
    "name": "What people see.",
    "slug": "Part of the addresses of its pages: /console/o/SLUG/. A change breaks links that people have kept.",
    "plan": "Sets every limit that is not given below.",
    "events_per_minute_override": "Empty: as the plan says. Beyond it events are refused until the next minute.",
    "retention_days_override": "Empty: as the plan says. A shorter time deletes older events within an hour or so.",
    "subscriptions_override": "Empty: as the plan says. Webhooks and inboxes together.",
}


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=500, widget=forms.Textarea(attrs={"rows": 3}))

    def clean_reason(self) -> str:
        return str(self.cleaned_data["reason"]).strip()


class SuspendedFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("suspended", "Suspended"), ("active", "Active")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {"suspended", "active"}:
            return queryset
        return queryset.filter(suspended_at__isnull=self.value() == "active")


@admin.register(Organization)
class OrganizationAdmin(VersionedAdmin):
    change_form_template = "admin/organization.html"
    fields = (
        "name",
        "slug",
        "plan",
        "events_per_minute_override",
        "retention_days_override",
        "subscriptions_override",
        "limits",
        "usage",
        "suspended_at",
        "suspended_reason",
        "created_at",
        "lists",
    )
    list_display = ("name", "slug", "plan", "suspended_at", "created_at")
    list_filter = (SuspendedFilter, "plan")
    readonly_fields = ("limits", "usage", "suspended_at", "suspended_reason", "created_at", "lists")
    search_fields = ("name", "slug")
    show_facets = admin.ShowFacets.NEVER

    def get_fields(self, request: HttpRequest, obj: Organization | None = None) -> tuple[str, ...]:
        return self.fields if obj else self.fields[:6]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
        return super().get_form(request, obj, change=change, help_texts=_HELP, **kwargs)

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        """Only of a new one: a slug is part of addresses that people have kept."""
        return {} if obj else {"slug": ("name",)}

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        suspend = path("<uuid:pk>/suspend/", wrap(self.suspend_page), name="organizations_organization_suspend")
        resume = path("<uuid:pk>/resume/", wrap(self.resume_page), name="organizations_organization_resume")
        return [suspend, resume, *super().get_urls()]

    def has_delete_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        return False

    def has_suspend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("organizations.suspend_organization")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["may_suspend"] = self.has_suspend_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Organization, form: Any, change: bool) -> None:  # noqa: FBT001
        changes = {field: form.cleaned_data[field] for field in form.changed_data}
        actor = actor_of(request)
        if not change:
            first = {field: form.cleaned_data[field] for field in ("name", "slug", "plan")}
            created = operations.create_organization(**first, actor=actor)
            obj.pk = created.pk
            changes = {field: value for field, value in changes.items() if field not in first}
        saved = operations.update_organization(organization=obj, changes=changes, actor=actor)
        obj.refresh_from_db(from_queryset=Organization.objects.filter(pk=saved.pk))

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        answer = super().response_add(request, obj, post_url_continue)
        links = [(reverse(name, args=[obj.slug]), label) for name, label in _NEXT]
        told = format_html_join(" · ", '<a href="{}">{}</a>', links)
        self.message_user(request, format_html("Next in the console: {}", told))
        return answer

    @admin.display(description="Limits")
    def limits(self, organization: Organization) -> str:
        limits = organization.limits
        return (
            f"{limits.events_per_minute:,} events a minute; events are kept {limits.retention_days} days;"
            f" {limits.subscriptions:,} subscriptions"
        )

    @admin.display(description="Usage")
    def usage(self, organization: Organization) -> str:
        used = usage_of(organization.pk, now=timezone.now())
        return (
            f"{used['events_last_24_hours']:,} events in 24 hours, {used['events_last_30_days']:,} in 30 days;"
            f" {used['subscriptions']:,} subscriptions, {used['event_types']:,} event types,"
            f" {used['api_keys']:,} active API keys"
        )

    @admin.display(description="See its")
    def lists(self, organization: Organization) -> SafeString:
        chosen = f"?{OrganizationFilter.parameter_name}={organization.pk}"
        links = [(reverse("console:overview", args=[organization.slug]), "Console")]
        links += [(address + chosen, label) for label, name in _LISTS if (address := _address(name))]
        return format_html_join(" · ", '<a href="{}">{}</a>', links)

    def suspend_page(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Asks for the reason, which its owners are told."""
        organization = self._for_suspension(request, pk)
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            reason = form.cleaned_data["reason"]
            moved = operations.suspend_organization(organization=organization, reason=reason, actor=actor_of(request))
            return self._told(request, organization, "is suspended." if moved else "was suspended already.")
        return confirmation(
            self,
            request,
            title=f"Suspend {organization}",
            text="From now on its API keys are refused, its pages in the console only show, and deliveries, replays, "
            "tests and mails wait until it is resumed. Events that were accepted are still processed.",
            button="Suspend it",
            back=_page_of(organization),
            form=form,
        )

    def resume_page(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        organization = self._for_suspension(request, pk)
        if request.method == "POST":
            moved = operations.resume_organization(organization=organization, actor=actor_of(request))
            return self._told(request, organization, "is active again." if moved else "was not suspended.")
        return confirmation(
            self,
            request,
            title=f"Resume {organization}",
            text="Its API keys work again, and what was held is sent first. It was suspended for: "
            f"{organization.suspended_reason or '–'}",
            button="Resume it",
            back=_page_of(organization),
        )

    def _for_suspension(self, request: HttpRequest, pk: UUID) -> Organization:
        if not self.has_suspend_permission(request):
            raise PermissionDenied
        return get_object_or_404(Organization, pk=pk)

    def _told(self, request: HttpRequest, organization: Organization, what: str) -> HttpResponse:
        self.message_user(request, f"{organization} {what}", messages.SUCCESS)
        return redirect(_page_of(organization))


def _page_of(organization: Organization) -> str:
    return reverse("admin:organizations_organization_change", args=[organization.pk])


def _address(name: str) -> str | None:
    try:
        return reverse(f"admin:{name}")
    except NoReverseMatch:
        return None


@admin.register(Membership)
class MembershipAdmin(VersionedAdmin):
    fields = ("organization", "user", "role")
    list_display = ("organization", "user", "role", "created_at")
    list_filter = (OrganizationFilter, "role")
    list_select_related = ("organization", "user")
    raw_id_fields = ("organization", "user")
    search_fields = ("organization__name", "organization__slug", "user__username", "user__email")
    show_facets = admin.ShowFacets.NEVER

    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> tuple[str, ...]:
        return ("organization", "user") if obj else ()

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:  # noqa: FBT001
        actor = actor_of(request)
        if change:
            operations.change_role(membership=obj, role=obj.role, actor=actor)
            return
        added = operations.add_member(organization=obj.organization, user=obj.user, role=obj.role, actor=actor)
        obj.pk = added.pk

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        operations.remove_member(membership=obj, actor=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        for membership in queryset.select_related("organization", "user").order_by("pk"):
            operations.remove_member(membership=membership, actor=actor_of(request))


class IssueKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, scope.value) for scope in Scope],
        initial=[Scope.EVENTS_WRITE.value],
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = ApiKey
        fields = ("organization", "name", "scopes", "expires_at")

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now():
            raise forms.ValidationError("A key must expire in the future.")
        return expires_at

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if organization := data.get("organization"):
            most = organization.limits.api_keys
            if active_keys(organization.pk, now=timezone.now()).count() >= most:
                raise forms.ValidationError(f"It has {most} active keys, as many as it can have. Revoke one first.")
        return data


class LeakedKeyForm(forms.Form):
    pasted = forms.CharField(
        label="The key, or the text in which it was found",
        max_length=MAX_PASTED,
        widget=forms.Textarea(attrs={"rows": 4, "autocomplete": "off", "spellcheck": "false"}),
    )


class KeyStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in ("active", "expiring", "expired", "revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = timezone.now()
        conditions = {
            "active": Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=now)),
            "expiring": Q(revoked_at=None, expires_at__gt=now, expires_at__lte=now + EXPIRES_SOON),
            "expired": Q(revoked_at=None, expires_at__lte=now),
            "revoked": Q(revoked_at__isnull=False),
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):
    actions = ("revoke", "rotate")
    change_form_template = "admin/api_key.html"
    change_list_template = "admin/api_keys.html"
    form = IssueKeyForm
    list_display = ("name", "organization", "public_id", "state", "expires_at", "last_used_at")
    list_filter = (KeyStateFilter, OrganizationFilter)
    list_select_related = ("organization",)
    raw_id_fields = ("organization",)
    search_fields = ("name", "public_id", "organization__name")
    search_help_text = "A name, an organization, or the twelve characters of a key's id. Never a whole key."
    show_facets = admin.ShowFacets.NEVER

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        asked = ("organization", "name", "scopes", "expires_at")
        return (*asked, "public_id", "created_at", "revoked_at", "last_used_at") if obj else asked

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        find = path("find/", wrap(self.find_page), name="organizations_apikey_find")
        revoke = path("<uuid:pk>/revoke/", wrap(self.revoke_page), name="organizations_apikey_revoke")
        return [find, revoke, *super().get_urls()]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if "evp_" in search_term:
            # It has been in a URL by now; the page for it is one click away.
            messages.warning(request, "To find a whole key, use “Find a leaked key”. An address is no place for it.")
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """A key's row is not edited, but who has Django's permission to change it may revoke and rotate it."""
        return request.user.has_perm("organizations.change_apikey")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["may_manage"] = self.has_manage_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:  # noqa: FBT001
        issued = operations.issue_key(**form.cleaned_data, actor=actor_of(request))
        obj.pk = issued.key.pk
        obj.public_id = issued.key.public_id
        form.issued = issued

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001
        """A key has no related rows; the plaintext goes from the form to the answer and nowhere else."""
        request.issued_key = form.issued  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        return self._show_once(request, [request.issued_key])  # type: ignore[attr-defined]

    @admin.display(description="State")
    def state(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return "revoked"
        return "expired" if key.expires_at is not None and key.expires_at <= timezone.now() else "active"

    @admin.action(description="Revoke the selected keys", permissions=["manage"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        moved = [operations.revoke_key(key=key, actor=actor_of(request)) for key in _in_order(keys)]
        self.message_user(request, f"Revoked: {sum(moved)}.", messages.SUCCESS)

    @admin.action(description="Rotate the selected keys (the old ones end in 24 hours)", permissions=["manage"])
    def rotate(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        actor = actor_of(request)
        issued = []
        for key in _in_order(keys):
            try:
                issued.append(operations.rotate_key(key=key, overlap=ROTATION_OVERLAP, actor=actor))
            except Problem as problem:
                self.message_user(request, str(problem.detail), messages.ERROR)
        return self._show_once(request, issued) if issued else None

    @method_decorator(sensitive_post_parameters("pasted"))
    def find_page(self, request: HttpRequest) -> HttpResponse:
        """Whose key is it? Posted, never in an address; what was pasted is neither kept nor shown again."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = LeakedKeyForm(request.POST or None)
        found = None
        if request.method == "POST" and form.is_valid():
            found = operations.find_leaked_key(text=form.cleaned_data["pasted"], actor=actor_of(request))
            form = LeakedKeyForm()
        context = {
            **self.admin_site.each_context(request),
            "title": "Find a leaked key",
            "opts": self.opts,
            "form": form,
            "found": found,
            "state": self.state(found.key) if found and found.key else "",
            "may_manage": self.has_manage_permission(request),
        }
        return TemplateResponse(request, "admin/find_key.html", context, headers={"Cache-Control": "no-store"})

    def revoke_page(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        if not self.has_manage_permission(request):
            raise PermissionDenied
        key = get_object_or_404(ApiKey.objects.select_related("organization"), pk=pk)
        if request.method == "POST":
            moved = operations.revoke_key(key=key, actor=actor_of(request))
            said = f"{key} is revoked." if moved else f"{key} was revoked already."
            self.message_user(request, said, messages.SUCCESS)
            return redirect("admin:organizations_apikey_change", key.pk)
        return confirmation(
            self,
            request,
            title=f"Revoke {key}",
            text=f"Every program of {key.organization} that uses it is refused within two seconds, for good.",
            button="Revoke it",
            back=reverse("admin:organizations_apikey_change", args=[key.pk]),
        )

    def _show_once(self, request: HttpRequest, issued: list[IssuedKey]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Copy it now",
            "opts": self.opts,
            "issued": issued,
        }
        return TemplateResponse(request, "admin/key_issued.html", context, headers={"Cache-Control": "no-store"})


def _in_order(keys: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
    return keys.select_related("organization").order_by("pk")


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    exclude = ("changes",)
    list_display = ("created_at", "organization", "actor_label", "action", "target_label", "address")
    list_filter = (OrganizationFilter,)
    list_select_related = ("organization",)
    readonly_fields = ("pretty_changes",)

    @admin.display(description="Changes")
    def pretty_changes(self, entry: AuditEntry) -> SafeString:
        return pretty_json(msgspec.json.encode(entry.changes).decode())
