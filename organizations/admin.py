"""Organizations, members, API keys and the audit log. Every change is one operation, with the person as its actor."""

from datetime import timedelta
from typing import Any

import msgspec
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from organizations import operations
from organizations.audit import Actor, ActorKind
from organizations.key_format import public_id
from organizations.models import ApiKey, AuditEntry, Membership, Organization
from organizations.operations import IssuedKey
from organizations.read_only_admin import ModelAdmin, OrganizationFilter, ReadOnlyAdmin, pretty_json
from organizations.scopes import Scope

# Time enough to put the successor in place; `revoke` ends a key at once.
ROTATION_OVERLAP = timedelta(hours=24)


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person."""
    return Actor(kind=ActorKind.USER, label=request.user.get_username(), address=request.META.get("REMOTE_ADDR"))


class SuspensionForm(ActionForm):
    reason = forms.CharField(required=False, max_length=500, label="Reason:")


@admin.register(Organization)
class OrganizationAdmin(ModelAdmin):
    action_form = SuspensionForm
    actions = ("suspend", "resume")
    fields = (
        "name",
        "slug",
        "plan",
        "events_per_minute_override",
        "retention_days_override",
        "suspended_at",
        "suspended_reason",
        "created_at",
        "events",
    )
    list_display = ("name", "slug", "plan", "suspended_at", "created_at")
    list_filter = ("plan",)
    readonly_fields = ("suspended_at", "suspended_reason", "created_at", "events")
    search_fields = ("name", "slug")
    show_facets = admin.ShowFacets.NEVER

    def get_fields(self, request: HttpRequest, obj: Organization | None = None) -> tuple[str, ...]:
        return self.fields if obj else self.fields[:5]

    def has_delete_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        return False

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

    @admin.display(description="Events")
    def events(self, organization: Organization) -> SafeString:
        address = reverse("admin:ingestion_event_changelist")
        parameter = OrganizationFilter.parameter_name
        return format_html('<a href="{}?{}={}">Its events</a>', address, parameter, organization.pk)

    @admin.action(description="Suspend the selected organizations", permissions=["change"])
    def suspend(self, request: HttpRequest, organizations: QuerySet[Organization]) -> None:
        reason = request.POST.get("reason", "").replace("\x00", "")[:500]
        moved = [
            operations.suspend_organization(organization=organization, reason=reason, actor=actor_of(request))
            for organization in organizations.order_by("pk")
        ]
        self.message_user(request, f"Suspended: {sum(moved)}.", messages.SUCCESS)

    @admin.action(description="Resume the selected organizations", permissions=["change"])
    def resume(self, request: HttpRequest, organizations: QuerySet[Organization]) -> None:
        moved = [
            operations.resume_organization(organization=organization, actor=actor_of(request))
            for organization in organizations.order_by("pk")
        ]
        self.message_user(request, f"Resumed: {sum(moved)}.", messages.SUCCESS)


@admin.register(Membership)
class MembershipAdmin(ModelAdmin):
    fields = ("organization", "user", "role")
    list_display = ("organization", "user", "role", "created_at")
    list_filter = ("role",)
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


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):
    actions = ("revoke", "rotate")
    form = IssueKeyForm
    list_display = ("name", "organization", "public_id", "expires_at", "revoked_at", "last_used_at")
    list_select_related = ("organization",)
    raw_id_fields = ("organization",)
    search_fields = ("name", "public_id", "organization__name")
    search_help_text = "A name, an organization, or a whole key that has leaked."
    show_facets = admin.ShowFacets.NEVER

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        asked = ("organization", "name", "scopes", "expires_at")
        return (*asked, "public_id", "created_at", "revoked_at", "last_used_at") if obj else asked

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found_id = public_id(search_term.strip())
        return super().get_search_results(request, queryset, found_id or search_term)

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """A key's row is not edited, but who has Django's permission to change it may revoke and rotate it."""
        return request.user.has_perm("organizations.change_apikey")

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

    @admin.action(description="Revoke the selected keys", permissions=["manage"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        moved = [operations.revoke_key(key=key, actor=actor_of(request)) for key in _in_order(keys)]
        self.message_user(request, f"Revoked: {sum(moved)}.", messages.SUCCESS)

    @admin.action(description="Rotate the selected keys (the old ones end in 24 hours)", permissions=["manage"])
    def rotate(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        actor = actor_of(request)
        rotated = [operations.rotate_key(key=key, overlap=ROTATION_OVERLAP, actor=actor) for key in _in_order(keys)]
        issued = [key for key in rotated if key is not None]
        if not issued:
            self.message_user(request, "A revoked key cannot be rotated.", messages.ERROR)
            return None
        return self._show_once(request, issued)

    def _show_once(self, request: HttpRequest, issued: list[IssuedKey]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Copy it now",
            "opts": self.opts,
            "issued": issued,
        }
        response = TemplateResponse(request, "admin/key_issued.html", context)
        response["Cache-Control"] = "no-store"
        return response


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
