"""`/api/v1/inbox`: bodies and answers, as the views use them and as `/api/schema` shows them."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from delivery.models import DEFAULT_INBOX, DeliveryStatus
from delivery.shown_status import HeldReason
from ingestion.api.schemas import EXAMPLE_FIELDS, EventFields
from rest.openapi import (
    EXAMPLE_ID,
    EXAMPLE_TIME,
    OTHER_ID,
    PAGE,
    Listed,
    Time,
    answer,
    get,
    json_of,
    page_of,
    parameter,
    post,
)

MAX_EVENTS = 1000
DEFAULT_EVENTS = 100
MAX_LEASE_SECONDS = 3600
DEFAULT_LEASE_SECONDS = 30
# Below what proxies and clients wait for an answer.
MAX_WAIT_SECONDS = 20

EventIds = Annotated[list[UUID], Meta(min_length=1, max_length=MAX_EVENTS)]
LeaseSeconds = Annotated[int, Meta(ge=1, le=MAX_LEASE_SECONDS, description="For how long from now on, in seconds.")]
OptionalLease = Annotated[
    UUID | None, Meta(description="Only events that this lease still holds; without it, whoever holds them.")
]
Unknown = Annotated[list[UUID], Meta(description="Not in this inbox.")]


class LeaseRequest(Struct, forbid_unknown_fields=True):
    """How many events to take, and for how long."""

    max: Annotated[int, Meta(ge=1, le=MAX_EVENTS)] = DEFAULT_EVENTS
    lease_seconds: LeaseSeconds = DEFAULT_LEASE_SECONDS
    wait_seconds: Annotated[
        float, Meta(ge=0, le=MAX_WAIT_SECONDS, description="How long the answer may wait for the first event.")
    ] = 0


class Ack(Struct, forbid_unknown_fields=True):
    """The events to acknowledge."""

    event_ids: EventIds
    lease_id: OptionalLease = None


class Nack(Struct, forbid_unknown_fields=True):
    """The events to give back."""

    event_ids: EventIds
    lease_id: OptionalLease = None


class Extension(Struct, forbid_unknown_fields=True):
    """The lease to go on with."""

    lease_id: UUID
    lease_seconds: LeaseSeconds = DEFAULT_LEASE_SECONDS


class AckOutcome(Struct):
    """What became of each event id; each is in one list."""

    acknowledged: list[UUID]
    already_acknowledged: list[UUID]
    stale: Annotated[list[UUID], Meta(description="Not held by the lease that was given; left as they are.")]
    unknown: Unknown


class NackOutcome(Struct):
    """What became of each event id; each is in one list."""

    returned: Annotated[list[UUID], Meta(description="Can be leased at once, where they were in the order.")]
    already_acknowledged: Annotated[list[UUID], Meta(description="Too late: they stay acknowledged.")]
    stale: Annotated[
        list[UUID], Meta(description="Not held by the lease that was given, or dead letters; left as they are.")
    ]
    unknown: Unknown


class InboxEvent(EventFields):
    """An event in an inbox; `status` is that of its delivery."""

    status: DeliveryStatus
    held_reason: Annotated[HeldReason | None, Meta(description="Why it is `held`, if it is.")]
    leases: Annotated[int, Meta(ge=0, description="How often it was leased, this lease included.")]
    leased_until: Annotated[Time | None, Meta(description="When its lease ends; null while nobody holds it.")]


class InboxEventList(Listed[InboxEvent]):
    """Events of an inbox, newest first."""


class LeaseShown(Struct):
    """The leased events, the longest waiting first."""

    lease_id: Annotated[UUID | None, Meta(description="Null when there is nothing to lease.")]
    expires_at: Time | None
    events: Annotated[list[InboxEvent], Meta(max_length=MAX_EVENTS)]


class LeaseExtended(Struct):
    """The lease is extended."""

    lease_id: UUID
    expires_at: Time
    extended: Annotated[int, Meta(ge=1, description="How many events it still holds.")]


INBOX = parameter("inbox", "The name of the inbox.", default=DEFAULT_INBOX)
STATUS = parameter(
    "status",
    "Only events whose delivery has this status. Leased events are pending; in a paused inbox, pending events are"
    " held.",
    enum=DeliveryStatus.values,
    default=DeliveryStatus.PENDING.value,
)

_EVENT = {**EXAMPLE_FIELDS, "status": "pending", "held_reason": None, "leases": 0, "leased_until": None}
_LEASED = {**_EVENT, "leases": 1, "leased_until": EXAMPLE_TIME}
_LEASE_ID = "019a1b2c-3d4e-7f52-8c8d-9e0f1a2b3c4d"
_TWO = {"event_ids": [EXAMPLE_ID, OTHER_ID]}
_OF_A_LEASE = {"event_ids": [EXAMPLE_ID], "lease_id": _LEASE_ID}
_REST_IS_EMPTY = {"already_acknowledged": [], "stale": [], "unknown": [OTHER_ID]}

LIST = get(
    "list_inbox",
    "List the events of an inbox",
    "Shows the events without leasing them.",
    parameters=(INBOX, STATUS, *PAGE),
    answers=page_of(InboxEventList, "events", _EVENT),
    problems=("not_found", "too_many_streams"),
)
LEASE = post(
    "lease_events",
    "Lease events",
    "Leases up to `max` events, the longest waiting first, and at most 16 MiB of data besides the first."
    " Until `expires_at`, nobody else gets them; after that, those not acknowledged can be leased again."
    " An event that has been leased too often (20 times, unless the inbox says otherwise) becomes a dead letter"
    " instead. When there is nothing to lease, or the inbox is paused, `lease_id` is null and `events` empty."
    f" With `wait_seconds` (up to {MAX_WAIT_SECONDS}) the response waits for an event: its status and"
    " headers are sent at once, the body follows. A body is optional: without one, the defaults apply.",
    parameters=(INBOX,),
    body=json_of(
        LeaseRequest,
        all_fields={
            "max": DEFAULT_EVENTS,
            "lease_seconds": DEFAULT_LEASE_SECONDS,
            "wait_seconds": MAX_WAIT_SECONDS,
        },
        defaults={},
    ),
    body_required=False,
    answers=answer(
        "The lease.",
        LeaseShown,
        one_event={"lease_id": _LEASE_ID, "expires_at": EXAMPLE_TIME, "events": [_LEASED]},
        nothing_to_lease={"lease_id": None, "expires_at": None, "events": []},
    ),
    problems=("not_found",),
)
ACK = post(
    "ack_events",
    "Acknowledge events",
    "Acknowledged events leave the inbox. Acknowledging them again changes nothing. With `lease_id`,"
    " events that the lease no longer holds, because it expired or they were given back, are `stale` and stay."
    " Without it, any event of the inbox can be acknowledged, including dead letters.",
    parameters=(INBOX,),
    body=json_of(Ack, two_events=_TWO, of_a_lease=_OF_A_LEASE),
    answers=answer(
        "The outcome for each event id.", AckOutcome, one_known={"acknowledged": [EXAMPLE_ID], **_REST_IS_EMPTY}
    ),
    problems=("not_found",),
)
NACK = post(
    "nack_events",
    "Give events back",
    "Their lease ends, and they can be leased again at once, in the same place in the order. The lease"
    " counts: an event that is given back again and again becomes a dead letter.",
    parameters=(INBOX,),
    body=json_of(Nack, two_events=_TWO, of_a_lease=_OF_A_LEASE),
    answers=answer(
        "The outcome for each event id.", NackOutcome, one_known={"returned": [EXAMPLE_ID], **_REST_IS_EMPTY}
    ),
    problems=("not_found",),
)
EXTEND = post(
    "extend_lease",
    "Extend a lease",
    "The events that the lease still holds stay leased for `lease_seconds` from now on. A lease that no"
    " longer holds any, because it expired or all were acknowledged or given back, is a 404.",
    parameters=(INBOX,),
    body=json_of(Extension, lease={"lease_id": _LEASE_ID, "lease_seconds": DEFAULT_LEASE_SECONDS}),
    answers=answer(
        "The lease is extended.",
        LeaseExtended,
        extended={"lease_id": _LEASE_ID, "expires_at": EXAMPLE_TIME, "extended": 1},
    ),
    problems=("not_found",),
)
