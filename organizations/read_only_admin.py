"""Admin pages for tables that grow without end: read-only, newest first, by keyset and never by a count."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from organizations.models import Organization

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

BEFORE = "before"
# The list beside the table; other organizations are reached from their own page.
MAX_LISTED_ORGANIZATIONS = 100
# Characters of JSON: 64 levels of indentation make much of little.
MAX_INDENTED = 100_000


class KeysetChangeList(ChangeList):
    """`?before=<id>` is the next page; it costs the same on the first page as on the last."""

    next_page: str | None
    first_page: str | None

    def get_queryset(self, request: HttpRequest, exclude_parameters: list[str | None] | None = None) -> QuerySet[Any]:
        # Not a look-up, and a new filter or search starts at the newest row again.
        self.params.pop(BEFORE, None)
        self.filter_params.pop(BEFORE, None)
        rows = super().get_queryset(request, exclude_parameters)
        before = request.GET.get(BEFORE)
        if before is None:
            return rows
        try:
            return rows.filter(pk__lt=self.lookup_opts.pk.to_python(before))
        except ValidationError as error:
            raise IncorrectLookupParameters from error

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-pk"]

    def get_results(self, request: HttpRequest) -> None:
        heavy: tuple[str, ...] = getattr(self.model_admin, "heavy_fields", ())
        rows = list(self.page_of(self.queryset, request).defer(*heavy)[: self.list_per_page + 1])
        more = len(rows) > self.list_per_page
        rows = rows[: self.list_per_page]
        self.result_list = rows
        self.result_count = self.full_result_count = len(rows)
        self.show_full_result_count = False
        self.show_admin_actions = True  # where there are any
        self.can_show_all = self.multi_page = False
        self.next_page = self.get_query_string({BEFORE: str(rows[-1].pk)}) if more else None
        self.first_page = self.get_query_string() if BEFORE in request.GET else None

    def page_of(self, rows: QuerySet[Any], request: HttpRequest) -> QuerySet[Any]:
        """For lists that know a quicker way to the rows of a page."""
        return rows


class OrganizationFilter(admin.SimpleListFilter):
    """One organization's rows: `?organization__id__exact=<id>`."""

    title = "organization"
    parameter_name = "organization__id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        listed = Organization.objects.order_by("name")[:MAX_LISTED_ORGANIZATIONS]
        return [(str(organization.pk), organization.name) for organization in listed]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if chosen is None:
            return queryset
        try:
            return queryset.filter(organization_id=UUID(chosen))
        except ValueError as error:
            raise IncorrectLookupParameters from error


class ReadOnlyAdmin(ModelAdmin):
    """Nobody adds, changes or deletes these rows by hand. `heavy_fields` are not read for the list."""

    actions: Sequence[str] | None = None
    change_list_template = "admin/keyset_change_list.html"
    heavy_fields: tuple[str, ...] = ()
    list_per_page = 25
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeysetChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what an index answers at once; Django would let any column be filtered by the URL."""
        return lookup in {getattr(each, "parameter_name", None) for each in self.list_filter}

    def has_act_permission(self, request: HttpRequest) -> bool:
        """The rows are not edited, but who has Django's permission to change them may run their actions."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def find_by_id_or_prefix(
        self, request: HttpRequest, rows: QuerySet[Any], term: str, *, prefix_of: str
    ) -> tuple[QuerySet[Any], bool]:
        """For get_search_results: an exact id, or the start of `prefix_of` within a chosen organization."""
        if not term:
            return rows, False
        try:
            return rows.filter(pk=self.opts.pk.to_python(term.strip())), False
        except ValidationError:
            pass
        if "\x00" not in term and OrganizationFilter.parameter_name in request.GET:
            return rows.filter(**{f"{prefix_of}__startswith": term.strip()}), False
        messages.warning(request, f"Search for a whole id, or choose an organization to search by {prefix_of}.")
        return rows.none(), False


def confirmation(
    model_admin: ModelAdmin,
    request: HttpRequest,
    *,
    title: str,
    text: str,
    button: str,
    back: str,
    form: Form | None = None,
) -> HttpResponse:
    """The page between a click and what cannot be taken back; its button posts to the same address."""
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "opts": model_admin.opts,
        "text": text,
        "button": button,
        "back": back,
        "form": form,
    }
    return TemplateResponse(request, "admin/confirmation.html", context)


def pretty_json(text: str) -> SafeString:
    """JSON text, indented, as a block of HTML. What is too long for that is shown as it is, and only its begin."""
    is_long = len(text) > MAX_INDENTED
    shown = f"{text[:MAX_INDENTED]}…" if is_long else msgspec.json.format(text, indent=2)
    return format_html("<pre>{}</pre>", shown)
