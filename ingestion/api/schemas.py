"""`/api/v1/events`: answers, and how `/api/schema` shows the requests."""

from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from core.field_errors import FieldError
from ingestion.formats.batches import MAX_BATCH_BODY_BYTES, MAX_BATCH_EVENTS
from ingestion.formats.cloudevents import CloudEvent
from ingestion.formats.decoding import MAX_DATA_BYTES, EventBody
from ingestion.models import EventStatus
from rest.openapi import EXAMPLE_ID, EXAMPLE_TIME, JSON, OTHER_ID, Content, ItemProblem, Time, answer, parameter, post

_NDJSON = "application/x-ndjson"
_STRUCTURED = "application/cloudevents+json"
_CLOUDEVENTS_BATCH = "application/cloudevents-batch+json"


class NewEvent(EventBody):
    """An event to send. `data` is any JSON."""


class NewCloudEvent(CloudEvent):
    """An event in the JSON format of CloudEvents 1.0; further members are its extensions."""


class Batch(Struct, forbid_unknown_fields=True):
    """Events to send at once."""

    events: Annotated[list[NewEvent], Meta(min_length=1, max_length=MAX_BATCH_EVENTS)]


class EventAccepted(Struct):
    """The event is committed. A duplicate has the id and the times of the first event with its idempotency key."""

    id: UUID
    type: str
    status: Annotated[
        Literal["accepted", "scheduled", "cancelled"],
        Meta(description="`scheduled` until its time comes; `cancelled` if it repeats an event that was cancelled."),
    ]
    duplicate: bool
    received_at: Time
    deliver_at: Annotated[Time, Meta(description="When it is handed on, if not at once.")] | UnsetType = UNSET
    schema_errors: (
        Annotated[
            list[FieldError],
            Meta(description="Where the data does not match the type's schema, with `validation` set to `warn`."),
        ]
        | UnsetType
    ) = UNSET


class BatchItem(Struct):
    """What became of one event of a batch."""

    index: Annotated[int, Meta(ge=0, description="Its position in the request, counting from 0.")]
    id: Annotated[UUID | None, Meta(description="Null if the event was rejected.")]
    status: Literal["accepted", "scheduled", "duplicate", "rejected"]
    error: ItemProblem | UnsetType = UNSET


class BatchOutcome(Struct):
    """What became of the events of a batch, in the order of the request. Good ones are kept when others are bad."""

    accepted: Annotated[int, Meta(ge=0, description="Including scheduled events.")]
    duplicates: Annotated[int, Meta(ge=0)]
    rejected: Annotated[int, Meta(ge=0)]
    results: list[BatchItem]


class EventFields(Struct):
    """An event without its status, as describe_event() shows it."""

    id: UUID
    type: str
    source: str | None
    subject: str | None
    time: Time | None
    data: Any
    idempotency_key: str | None
    received_at: Time
    attributes: Annotated[dict[str, Any] | None, Meta(description="The other attributes of a CloudEvent.")]
    schema_errors: Annotated[
        list[FieldError] | None,
        Meta(description="Where the data does not match the type's schema, with `validation` set to `warn`."),
    ]


class EventShown(EventFields):
    """An event."""

    status: EventStatus
    deliver_at: Annotated[Time | None, Meta(description="When it is or was handed on, if not at once.")]


class EventCancelled(Struct):
    """The event will never be handed on."""

    id: UUID
    status: Literal["cancelled"]
    deliver_at: Annotated[Time, Meta(description="When it would have been handed on.")]


_SENT = {
    "type": "invoice.paid",
    "data": {"amount": 12900},
    "source": "/billing",
    "subject": "inv_1",
    "time": "2026-11-23T10:00:00Z",
    "idempotency_key": "inv_1-paid",
}
_CLOUDEVENT = {
    "specversion": "1.0",
    "id": "inv_1-paid",
    "source": "/billing",
    "type": "invoice.paid",
    "time": "2026-11-23T10:00:00Z",
    "data": {"amount": 12900},
}
EXAMPLE_FIELDS = {
    "id": EXAMPLE_ID,
    "type": "invoice.paid",
    "source": "/billing",
    "subject": "inv_1",
    "time": EXAMPLE_TIME,
    "data": {"amount": 12900},
    "idempotency_key": "inv_1-paid",
    "received_at": EXAMPLE_TIME,
    "attributes": None,
    "schema_errors": None,
}
EXAMPLE_EVENT = {**EXAMPLE_FIELDS, "status": "processed", "deliver_at": None}
_ACCEPTED = {
    "id": EXAMPLE_ID,
    "type": "invoice.paid",
    "status": "accepted",
    "duplicate": False,
    "received_at": EXAMPLE_TIME,
}
_SCHEDULED = {**_ACCEPTED, "status": "scheduled", "deliver_at": EXAMPLE_TIME}
_REJECTED_ITEM = {
    "index": 1,
    "id": None,
    "status": "rejected",
    "error": {
        "type": "http://127.0.0.1:8000/docs/errors#validation_failed",
        "title": "Validation failed",
        "status": 422,
        "detail": "Fields are wrong or unknown; `errors` names each of them.",
        "code": "validation_failed",
        "errors": [{"pointer": "/data", "code": "required", "detail": "This field is required."}],
    },
}
_MIXED = {
    "accepted": 1,
    "duplicates": 0,
    "rejected": 1,
    "results": [{"index": 0, "id": EXAMPLE_ID, "status": "accepted"}, _REJECTED_ITEM],
}
_ALL_ACCEPTED = {
    "accepted": 2,
    "duplicates": 0,
    "rejected": 0,
    "results": [
        {"index": 0, "id": EXAMPLE_ID, "status": "accepted"},
        {"index": 1, "id": OTHER_ID, "status": "accepted"},
    ],
}
_ALL_REJECTED = {"accepted": 0, "duplicates": 0, "rejected": 1, "results": [{**_REJECTED_ITEM, "index": 0}]}
_IN_LINES = {
    "type": "string",
    "contentMediaType": _NDJSON,
    "description": f"One event a line, each as in `application/json`; up to {MAX_BATCH_EVENTS} of them.",
}
_LINES_EXAMPLE = '{"type": "invoice.paid", "data": {"amount": 12900}}\n{"type": "invoice.sent", "data": null}\n'


FEED_FILTERS = (
    parameter("type", "Only events of this type; with a trailing `*`, every type that starts with it."),
    parameter("source", "Only events from this source."),
    parameter("subject", "Only events about this subject."),
)
EVENT_FILTERS = (
    *FEED_FILTERS,
    parameter("received_after", "Only events received after this time, in RFC 3339.", format="date-time"),
    parameter("received_before", "Only events received before this time, in RFC 3339.", format="date-time"),
    parameter("status", "Only events with this status.", enum=[status.value for status in EventStatus]),
)
_BINARY_MODE = tuple(
    parameter(f"ce-{name}", f"CloudEvents binary mode: the attribute `{name}`. The body is the data.", place="header")
    for name in ("specversion", "id", "source", "type", "subject", "time")
)
_BATCH_ANSWERS = answer(
    "At least one event is committed, now or by an earlier request.",
    BatchOutcome,
    status=202,
    all_accepted=_ALL_ACCEPTED,
    one_rejected=_MIXED,
) | answer("Every event was rejected.", BatchOutcome, status=422, all_rejected=_ALL_REJECTED)
_INTAKE_PROBLEMS = ("rate_limited", "cpu_time_spent")


EVENTS = post(
    "send_event",
    "Send an event",
    "The response is sent after the event is committed.\n\n"
    f"Besides the native format, it accepts CloudEvents 1.0, structured (`{_STRUCTURED}`) and in binary mode"
    " (the `ce-` headers, with any body). A CloudEvent's `source` and `id` are its idempotency key. The"
    " body may be compressed: `Content-Encoding: gzip` or `zstd`."
    f" `data` may be up to {MAX_DATA_BYTES // 1024} KiB. Idempotency keys that begin with `op:` or `op-mail:`,"
    " and the source `/platform`, are reserved: 422.\n\n"
    "With `deliver_at` or `delay_seconds` (in a CloudEvent, the extensions `deliverat` or `delayseconds`) the"
    " event is stored at once and handed on later. Until then it is `scheduled`, and can be cancelled.",
    parameters=(
        parameter(
            "Idempotency-Key",
            "1 to 255 characters, the same as `idempotency_key` in the body; when both are given they must agree."
            " Ignored for a CloudEvent.",
            place="header",
        ),
        *_BINARY_MODE,
    ),
    body={
        JSON: Content(
            kind=NewEvent,
            examples={
                "all_fields": _SENT,
                "minimal": {"type": "invoice.paid", "data": None},
                "later": {"type": "invoice.reminder", "data": None, "delay_seconds": 3600},
            },
        ),
        _STRUCTURED: Content(kind=NewCloudEvent, examples={"cloudevent": _CLOUDEVENT}),
    },
    answers=answer("The event is committed.", EventAccepted, status=202, accepted=_ACCEPTED, scheduled=_SCHEDULED)
    | answer(
        "An event with this idempotency key and the same content was committed earlier.",
        EventAccepted,
        duplicate={**_ACCEPTED, "duplicate": True},
    ),
    problems=("idempotency_key_reused", "event_erased", *_INTAKE_PROBLEMS),
    refuses_parameters=False,
)
BATCH = post(
    "send_events",
    "Send many events",
    f"Up to {MAX_BATCH_EVENTS} events and {MAX_BATCH_BODY_BYTES // 1024 // 1024} MiB, as an object, an array,"
    " lines of JSON, or a CloudEvents batch. Each event is checked alone. A batch of n events costs n of the"
    " rate limit. The body may be compressed: `Content-Encoding: gzip` or `zstd`.",
    body={
        JSON: Content(
            kind=(Batch, Annotated[list[NewEvent], Meta(min_length=1, max_length=MAX_BATCH_EVENTS)]),
            examples={"object": {"events": [_SENT]}, "array": [_SENT]},
        ),
        _NDJSON: Content(kind=_IN_LINES, examples={"two_lines": _LINES_EXAMPLE}),
        _CLOUDEVENTS_BATCH: Content(
            kind=Annotated[list[NewCloudEvent], Meta(min_length=1, max_length=MAX_BATCH_EVENTS)],
            examples={"one_cloudevent": [_CLOUDEVENT]},
        ),
    },
    answers=_BATCH_ANSWERS,
    problems=_INTAKE_PROBLEMS,
    refuses_parameters=False,
)
CANCEL = post(
    "cancel_event",
    "Cancel a scheduled event",
    "It stays stored and is never handed on. If it already was, this is a 409. Cancelling again changes nothing.",
    answers=answer(
        "The event is cancelled.",
        EventCancelled,
        cancelled={"id": EXAMPLE_ID, "status": "cancelled", "deliver_at": EXAMPLE_TIME},
    ),
    problems=("wrong_state",),
)
