"""How the portals of organizations look. The links themselves are made by their keys alone."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from organizations.audit import actor_of
from organizations.read_only_admin import OrganizationFilter
from organizations.versioned_admin import VersionedAdmin
from portal.models import PortalAppearance
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
