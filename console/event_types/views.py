"""Event types: what there is, what it is for, and the schema that its events must fit."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.conflicts import is_conflict, merge, opened_version, shown_version
from console.drawing.sparklines import Sparkline
from console.event_types.examples import newest_example, pretty
from console.event_types.forms import TypeNameField
from console.event_types.queries import trends_of
from console.forms import TextField, show_problem
from console.pages import READ, WRITE, organization_page
from console.paging import PAGE_SIZE, read_text
from console.rendering import in_section
from console.subscriptions.forms import JSONTextField
from core.field_errors import FieldError
from core.problems import Problem
from ingestion.formats.decoding import MAX_DATA_BYTES
from ingestion.models import EventType, Format, Validation
from ingestion.operations.event_types import (
    MAX_SCHEMA_BYTES,
    EventTypeChanges,
    changeable_fields,
    compact,
    create_event_type,
    delete_event_type,
    shown_event_types,
    update_event_type,
)
from ingestion.queries import own_event_type
from ingestion.schemas.checking import Unchecked, schema_checks
from organizations.audit import actor_of
from rest.versions import version_of

_MODES = [
    (Validation.OFF.value, "Off: events are not checked"),
    (Validation.WARN.value, "Warn: events that do not match are accepted and marked"),
    (Validation.REJECT.value, "Reject: events that do not match are refused"),
]
_FORMATS = [
    (Format.ANNOTATE.value, "Only say what is meant"),
    (Format.ASSERT.value, "Have to fit"),
]
# Characters of an example; the event's own page shows all of it.
_SHOWN = 20_000
_CODE = {"class": "code", "spellcheck": "false"}


class EventTypeForm(forms.Form):
    """A type with its schema, and a sample to try that with."""

    name = TypeNameField(help_text="As in events: invoice.paid")
    description = TextField(
        max_length=2000, required=False, widget=forms.Textarea(attrs={"rows": 2}), help_text="For people."
    )
    schema = JSONTextField(
        required=False,
        max_length=MAX_SCHEMA_BYTES,
        label="JSON Schema",
        help_text="Draft 2020-12, for an event's data. Leave empty for none.",
        widget=forms.Textarea(attrs={"rows": 12, **_CODE}),
    )
    validation = forms.ChoiceField(
        choices=_MODES, widget=forms.RadioSelect, initial=Validation.OFF.value, label="What the schema does"
    )
    format = forms.ChoiceField(
        choices=_FORMATS,
        required=False,
        widget=forms.RadioSelect,
        initial=Format.ANNOTATE.value,
        label="Formats in the schema, such as email",
    )
    sample = JSONTextField(
        required=False,
        max_length=MAX_DATA_BYTES,
        help_text="An event's data, to check against the schema before it takes effect. It is not stored.",
        widget=forms.Textarea(attrs={"rows": 8, **_CODE}),
    )

    def changes(self) -> EventTypeChanges:
        data = self.cleaned_data
        return EventTypeChanges(
            description=data["description"],
            schema=data["schema"] or None,
            validation=Validation(data["validation"]),
            format=Format(data["format"] or Format.ANNOTATE),
        )

    def wanted(self) -> dict[str, Any]:
        """The fields as changes() would set them."""
        changes = self.changes()
        schema = compact(changes.schema) if isinstance(changes.schema, str) else None
        chosen = {"validation": str(changes.validation), "format": str(changes.format)}
        return {"description": changes.description, "schema": schema, **chosen}


@dataclass(frozen=True, kw_only=True)
class Row:
    event_type: EventType
    trend: Sparkline


_render = in_section("event-types")


@organization_page(Action.SEE_EVENT_TYPES)
def event_types(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """By name; `?q=` is how names start, `?after=` is a name."""
    term, after = read_text(request, "q", length=255), read_text(request, "after", length=255)
    types = shown_event_types(place.organization.pk).order_by("name")
    if term:
        types = types.filter(name__startswith=term)
    if after:
        types = types.filter(name__gt=after)
    found = list(types.defer("schema")[: PAGE_SIZE + 1])
    shown = found[:PAGE_SIZE]
    trends = trends_of(place.organization.pk, [row.name for row in shown], now=timezone.now())
    context = {
        "rows": [Row(event_type=row, trend=trends[row.name]) for row in shown],
        "term": term,
        "after": after,
        "next": shown[-1].name if len(found) > PAGE_SIZE else None,
    }
    return _render(request, place, "console/event_types/event_types.html", context)


@organization_page(Action.SEE_EVENT_TYPES)
def event_type(request: HttpRequest, place: OrganizationContext, type_id: int) -> HttpResponse:
    """One, with an example."""
    found = own_event_type(place.organization.pk, pk=type_id)
    trend = trends_of(place.organization.pk, [found.name], now=timezone.now())[found.name]
    example = newest_example(place, found.name)
    context = {
        "type": found,
        "trend": trend,
        "schema": pretty(found.schema),
        "example": example,
        "example_text": pretty(example.data)[:_SHOWN] if example else "",
    }
    return _render(request, place, "console/event_types/event_type.html", context)


@organization_page(Action.MANAGE_EVENT_TYPES, methods=READ + WRITE)
def create(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """Describe a type, also before the first event of it comes."""
    form = EventTypeForm(request.POST or None)
    checked = None
    if request.method == "POST" and form.is_valid():
        checked = _check(request, place, form)
        if checked is None:
            try:
                made = create_event_type(
                    organization=place.organization,
                    name=form.cleaned_data["name"],
                    changes=form.changes(),
                    actor=actor_of(request),
                )
            except Problem as problem:
                show_problem(form, problem)
            else:
                messages.success(request, f"{made.name} was created.")
                return redirect("console:event-type", place.organization.slug, made.pk)
    return _form_page(request, place, form, {"checked": checked})


@organization_page(Action.MANAGE_EVENT_TYPES, methods=READ + WRITE)
def edit(request: HttpRequest, place: OrganizationContext, type_id: int) -> HttpResponse:
    """Its description, schema and what that does; one button only checks the sample."""
    found = own_event_type(place.organization.pk, pk=type_id)
    form = _edit_form(request.POST or None, place, found)
    checked = None
    if request.method == "POST" and form.is_valid():
        checked = _check(request, place, form)
        if checked is None:
            try:
                update_event_type(
                    event_type=found,
                    changes=form.changes(),
                    actor=actor_of(request),
                    expected=opened_version(request),
                )
            except Problem as problem:
                if is_conflict(problem):
                    return _conflict(request, place, own_event_type(place.organization.pk, pk=type_id), form)
                show_problem(form, problem)
            else:
                messages.success(request, "Saved. It takes effect within two seconds.")
                return redirect("console:event-type", place.organization.slug, found.pk)
    version = shown_version(request, changeable_fields(found))
    return _form_page(request, place, form, {"checked": checked, "type": found, "version": version})


def _conflict(request: HttpRequest, place: OrganizationContext, found: EventType, typed: EventTypeForm) -> HttpResponse:
    """What somebody else has changed, and what this person has typed."""
    form = _edit_form(None, place, found)
    fields = changeable_fields(found)
    changed = merge(typed, form, fields=fields, wanted=typed.wanted())
    form.initial["sample"] = typed.data.get("sample", "")
    context = {"form": form, "type": found, "changed": changed, "version": version_of(fields)}
    return _render(request, place, "console/event_types/form.html", context, 412)


@organization_page(Action.MANAGE_EVENT_TYPES, methods=READ + WRITE)
def delete(request: HttpRequest, place: OrganizationContext, type_id: int) -> HttpResponse:
    """Take away description and schema; asks first."""
    found = own_event_type(place.organization.pk, pk=type_id)
    if request.method != "POST":
        return _render(request, place, "console/event_types/delete.html", {"type": found})
    delete_event_type(event_type=found, actor=actor_of(request))
    messages.success(request, f"The description and schema of {found.name} were deleted.")
    return redirect("console:event-types", place.organization.slug)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What the schema says of the sample. No errors: it fits."""

    errors: tuple[FieldError, ...]


def _check(request: HttpRequest, place: OrganizationContext, form: EventTypeForm) -> Checked | None:
    """When that is what was asked for; None when the form is to be saved."""
    if request.POST.get("step") != "check":
        return None
    schema, sample = form.cleaned_data["schema"], form.cleaned_data["sample"]
    if not schema or not sample:
        form.add_error("sample" if schema else "schema", "Checking requires a schema and a sample.")
        return Checked(errors=())
    asserting = (0,) if form.cleaned_data["format"] == Format.ASSERT else ()
    reply = schema_checks.check_now(place.organization.pk, [schema], [(0, sample)], asserting)
    if isinstance(reply, Unchecked):
        form.add_error("schema", str(schema_checks.problem_of(reply, place.organization.pk).detail))
        return Checked(errors=())
    if refusal := reply.refusals[0]:
        form.add_error("schema", refusal[1])
    return Checked(errors=reply.findings[0])


def _edit_form(given: QueryDict | None, place: OrganizationContext, found: EventType) -> EventTypeForm:
    """A name is for ever."""
    form = EventTypeForm(given, initial=_initial(place, found))
    del form.fields["name"]
    return form


def _form_page(
    request: HttpRequest, place: OrganizationContext, form: EventTypeForm, context: dict[str, Any]
) -> HttpResponse:
    return _render(request, place, "console/event_types/form.html", {"form": form, **context})


def _initial(place: OrganizationContext, found: EventType) -> dict[str, Any]:
    example = newest_example(place, found.name)
    return {
        "description": found.description,
        "schema": pretty(found.schema),
        "validation": found.validation,
        "format": found.format,
        "sample": pretty(example.data) if example else "",
    }
