"""`/api/v1/deliveries`, and those of a subscription: answers, as the views use them and as `/api/schema` shows them."""

from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from delivery.models import DeliveryStatus
from delivery.shown_status import HeldReason
from rest.openapi import (
    EXAMPLE_ID,
    EXAMPLE_TIME,
    OTHER_ID,
    PAGE,
    Answer,
    Listed,
    Operation,
    Parameter,
    Time,
    json_of,
)


class AttemptShown(Struct):
    """One request to a webhook, and what came of it."""

    number: Annotated[int, Meta(description="Counts from 1; a dead letter that is retried starts over.")]
    started_at: Time
    duration_ms: Annotated[int, Meta(ge=0)]
    status_code: Annotated[int | None, Meta(description="Null when no answer came.")]
    error: Annotated[str | None, Meta(description="Null when it succeeded.")]
    response: Annotated[str, Meta(description="The begin of the answer.")]


class DeliveryFields(Struct):
    """An event on its way to a subscription."""

    id: UUID
    subscription: UUID
    event_id: UUID
    event_type: Annotated[str | None, Meta(description="Null when the event is past its retention.")]
    status: Literal["pending", "delivered", "retrying", "held", "dead_letter"]
    held_reason: Annotated[
        HeldReason | None,
        Meta(
            description="Why it is `held`: its subscription is paused or disabled, the endpoint rests, or the"
            " organization is suspended."
        ),
    ]
    next_attempt_at: Annotated[
        Time | None,
        Meta(
            description="A time ahead: of one that is held by an open circuit, when that is over. Null when none is"
            " known: it is due now, has ended, or is held until somebody acts."
        ),
    ]
    last_error: str | None
    created_at: Time
    delivered_at: Time | None
    replay_id: Annotated[UUID | None, Meta(description="The replay that made it.")]


class DeliveryDetails(DeliveryFields):
    """A delivery with its attempts: the latest 100, oldest first. Leases of an inbox are no attempts."""

    attempts: list[AttemptShown]


class DeliveryShown(DeliveryFields):
    """A delivery, in a list."""

    attempts: Annotated[int, Meta(ge=0, description="How many; of an inbox, how many leases.")]


class DeliveryList(Listed[DeliveryShown]):
    """Deliveries of a subscription, newest event first."""


EXAMPLE_ATTEMPT = {
    "number": 1,
    "started_at": EXAMPLE_TIME,
    "duration_ms": 42,
    "status_code": 200,
    "error": None,
    "response": "ok",
}
EXAMPLE_DELIVERY = {
    "id": OTHER_ID,
    "subscription": EXAMPLE_ID,
    "event_id": EXAMPLE_ID,
    "event_type": "invoice.paid",
    "status": "delivered",
    "held_reason": None,
    "next_attempt_at": None,
    "last_error": None,
    "created_at": EXAMPLE_TIME,
    "delivered_at": EXAMPLE_TIME,
    "replay_id": None,
    "attempts": [EXAMPLE_ATTEMPT],
}
_LISTED_DELIVERY = {**EXAMPLE_DELIVERY, "attempts": 1}
_STATUS = Parameter(
    name="status",
    description="Only deliveries with this status.",
    schema={"type": "string", "enum": DeliveryStatus.values},
)
_FILTERS = (
    _STATUS,
    Parameter(name="error", description="Only deliveries that failed last with this code, such as `timeout`."),
    Parameter(
        name="status_code",
        description="Only deliveries of which an attempt was answered with this status of HTTP.",
        schema={"type": "integer", "minimum": 100, "maximum": 599},
    ),
    Parameter(
        name="event_type",
        description="Only deliveries of events of this type; with a trailing `*`, of every type that starts so.",
    ),
    *(
        Parameter(
            name=f"received_{side}",
            description=f"Only deliveries of events that were received {side} this time, in RFC 3339.",
            schema={"type": "string", "format": "date-time"},
        )
        for side in ("after", "before")
    ),
)

SUBSCRIPTION_DELIVERIES = {
    "GET": Operation(
        id="list_deliveries",
        summary="List the deliveries of a subscription",
        description="With any filter but `status`, the newest 1 000 deliveries are looked at for a page, so it may have"
        " fewer rows than `limit`, or none, and a `next_cursor` all the same.",
        parameters=(*_FILTERS, *PAGE),
        answers={
            200: Answer(
                description="A page of deliveries.",
                content=json_of(DeliveryList, page={"data": [_LISTED_DELIVERY], "next_cursor": None}),
            )
        },
    )
}
DELIVERY = {
    "GET": Operation(
        id="get_delivery",
        summary="Show a delivery with its attempts",
        answers={200: Answer(description="The delivery.", content=json_of(DeliveryDetails, delivery=EXAMPLE_DELIVERY))},
    )
}
RETRY = {
    "POST": Operation(
        id="retry_delivery",
        summary="Retry a delivery",
        description="It is due now, whatever its status. One that is delivered or a dead letter starts over, with every"
        " attempt ahead. It is tried at once, also while the endpoint rests; one of a paused or disabled subscription"
        " stays held until that is resumed.",
        answers={
            202: Answer(
                description="The delivery is due.",
                content=json_of(
                    DeliveryShown,
                    delivery={
                        **_LISTED_DELIVERY,
                        "status": "pending",
                        "attempts": 0,
                        "delivered_at": None,
                    },
                ),
            )
        },
        problems=("limit_reached", "wrong_state"),
    )
}
