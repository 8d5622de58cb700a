"""How the portals of organizations look, and which links and sessions there are. Keys alone make them."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from organizations.audit import actor_of
from organizations.read_only_admin import OrganizationFilter, ReadOnlyAdmin
from organizations.versioned_admin import VersionedAdmin
from portal.links import state_of
from portal.models import PortalAppearance, PortalLink
from portal.settings.forms import FIELDS, AppearanceForm
from portal.settings.operations import change_appearance


@admin.register(PortalAppearance)
class PortalAppearanceAdmin(VersionedAdmin):
    form = AppearanceForm
    fields = ("organization", *FIELDS)
    list_display = ("organization", "name", "frame_ancestors")
    list_filter = (OrganizationFilter,)
    list_select_related = ("organization",)
    search_fields = ("organization__name", "organization__slug")
    raw_id_fields = ("organization",)
    show_facets = admin.ShowFacets.NEVER

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("organization",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: PortalAppearance, form: Any, change: bool) -> None:  # noqa: FBT001
        values = {name: form.cleaned_data[name] for name in FIELDS}
        change_appearance(organization=obj.organization, values=values, actor=actor_of(request))


@admin.register(PortalLink)
class PortalLinkAdmin(ReadOnlyAdmin):
    """What a link reaches and whether it still works; neither its token nor its session's is anywhere."""

    list_display = ("reach", "organization", "may_manage", "state", "created_at", "expires_at")
    list_filter = (OrganizationFilter,)
    list_select_related = ("organization", "api_key")
    heavy_fields = ("filter",)
    fields = ("organization", "api_key", "tag", "subscription_ids", "may_manage", "filter", "state", "created_at",
              "used_at", "ended_at", "expires_at")  # fmt: skip
    readonly_fields = ("state",)

    @admin.display
    def state(self, link: PortalLink) -> str:
        return state_of(link, now=timezone.now())
