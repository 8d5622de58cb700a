"""`/api/v1/event-types`: bodies and answers, as the views use them and as `/api/schema` shows them."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from ingestion.formats.decoding import TypeName
from ingestion.models import Format, Validation
from ingestion.operations.catalogue import OTHER
from rest.openapi import EXAMPLE_TIME, PAGE, Listed, Time, answer, delete, get, json_of, page_of, parameter, patch, post

_JSON_SCHEMA = {"anyOf": [{"type": "object"}, {"type": "boolean"}, {"type": "null"}]}
Description = Annotated[str, Meta(max_length=2000)]
GivenSchema = Annotated[
    Raw,
    Meta(
        description="JSON Schema (2020-12) of at most 64 KiB that `data` must match; null for none. References may only"
        " point within it, also by `$id`; patterns may use neither look-around nor back-references.",
        extra_json_schema=_JSON_SCHEMA,
    ),
]
GivenFormat = Annotated[
    Format,
    Meta(
        description="Whether values must have the formats that the schema names, such as `date-time` or `email`"
        " (`assert`), or not (`annotate`, the default of JSON Schema)."
    ),
]


class EventTypePatch(Struct, forbid_unknown_fields=True):
    """What to set; the rest stays."""

    # An absent `schema` is empty, since Raw cannot be told from UNSET by its type.
    description: Description | UnsetType = UNSET
    schema: GivenSchema = field(default_factory=Raw)
    validation: Validation | UnsetType = UNSET
    format: GivenFormat | UnsetType = UNSET


class NewEventType(EventTypePatch, forbid_unknown_fields=True, kw_only=True):
    """An event type to be described, before its first event. Any `validation` but `off` needs a schema."""

    name: TypeName


class EventTypeShown(Struct):
    """An event type: seen, described, or both."""

    name: Annotated[
        str,
        Meta(description=f"`{OTHER}` stands for all types beyond the number that an organization can have."),
    ]
    description: str
    schema: Annotated[Any, Meta(extra_json_schema=_JSON_SCHEMA)]
    validation: Validation
    format: Format
    first_seen_at: Time | None
    last_seen_at: Time | None
    count: Annotated[int, Meta(ge=0, description="Processed events of this type.")]


class EventTypeList(Listed[EventTypeShown]):
    """Event types, newest first."""


_SCHEMA = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}}
_EVENT_TYPE = {
    "name": "invoice.paid",
    "description": "An invoice was paid in full.",
    "schema": _SCHEMA,
    "validation": "reject",
    "format": "annotate",
    "first_seen_at": EXAMPLE_TIME,
    "last_seen_at": EXAMPLE_TIME,
    "count": 1,
}
_NEW = {"name": "invoice.paid", "schema": _SCHEMA, "validation": "reject"}
_SHOWN = answer("The event type.", EventTypeShown, event_type=_EVENT_TYPE)
_NAME = parameter(
    "name",
    "The name, which may contain slashes.",
    place="path",
    pattern="^[A-Za-z0-9._/-]{1,255}$",
    example="invoice.paid",
)

EVENT_TYPES = get(
    "list_event_types",
    "List event types",
    parameters=(parameter("name", "The whole name, or its beginning with a trailing `*`."), *PAGE),
    answers=page_of(EventTypeList, "event types", _EVENT_TYPE),
) | post(
    "create_event_type",
    "Create an event type",
    "A type is created by its first event; this describes one beforehand.",
    body=json_of(NewEventType, minimal={"name": "invoice.sent"}, strict=_NEW),
    answers={201: _SHOWN[200]},
    problems=("event_type_exists", "limit_reached", "cpu_time_spent"),
    version="shown",
)
EVENT_TYPE = (
    get("get_event_type", "Show an event type", parameters=(_NAME,), answers=_SHOWN, version="shown")
    | patch(
        "update_event_type",
        "Change an event type",
        "Takes effect within two seconds. With `reject`, an event that does not match the schema is refused"
        " with 422; with `warn`, it is accepted and marked. An organization's schemas have a share of CPU time: events"
        " beyond it are refused with 429 (`cpu_time_spent`) or, with `warn`, accepted and marked as `unchecked`.",
        parameters=(_NAME,),
        body=json_of(EventTypePatch, warn={"schema": _SCHEMA, "validation": "warn"}, describe={"description": "Paid."}),
        answers=_SHOWN,
        problems=("cpu_time_spent",),
        version="expected",
    )
    | delete(
        "delete_event_type",
        "Delete an event type",
        "Removes description, schema and validation. A type that has been seen stays listed.",
        parameters=(_NAME,),
        answers=answer("The description, schema and validation are removed.", status=204),
        version="expected",
    )
)
