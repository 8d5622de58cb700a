"""`/api/v1/deliveries`, and those of a subscription: answers, as the views use them and as `/api/schema` shows them."""

from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from delivery.models import DeliveryStatus
from delivery.shown_status import HeldReason
from rest.openapi import EXAMPLE_ID, EXAMPLE_TIME, OTHER_ID, PAGE, Listed, Time, answer, get, page_of, parameter, post

Milliseconds = Annotated[int, Meta(ge=0)]
HeaderFields = dict[str, str]


class TimingsShown(Struct):
    """How long each step of an attempt took. Null for a step that was not taken: on a connection kept from an earlier
    request nothing is looked up or connected, and only `https` has TLS.
    """

    dns_ms: Annotated[Milliseconds | None, Meta(description="Looking up the host name.")]
    connect_ms: Annotated[Milliseconds | None, Meta(description="Connecting to the address.")]
    tls_ms: Annotated[Milliseconds | None, Meta(description="Agreeing on TLS.")]
    first_byte_ms: Annotated[
        Milliseconds | None, Meta(description="From the moment of sending the request to the answer's first byte.")
    ]
    total_ms: Annotated[Milliseconds, Meta(description="All of it, with reading the answer.")]


class AttemptShown(Struct):
    """One request to a webhook, and what came of it. Its body is that of the event, and the same in every attempt.

    What is null for want of a record was made before the platform kept one.
    """

    number: Annotated[int, Meta(description="Counts from 1, also over retries by hand.")]
    url: Annotated[str | None, Meta(description="Where it was sent. Null for want of a record.")]
    started_at: Time
    duration_ms: Milliseconds
    timings: Annotated[TimingsShown | None, Meta(description="Null for want of a record.")]
    remote_address: Annotated[str | None, Meta(description="The address connected to; null when there was none.")]
    request_headers: Annotated[
        HeaderFields | None,
        Meta(description="As sent; the values of the subscription's own are masked. Null for want of a record."),
    ]
    status_code: Annotated[int | None, Meta(description="Null when no answer came.")]
    response_headers: Annotated[
        HeaderFields | None,
        Meta(description="Up to 4 KiB. Values of a repeated field are joined. Null for want of a record."),
    ]
    response_body: Annotated[str, Meta(description="The begin of the answer, up to 20 KiB.")]
    error: Annotated[str | None, Meta(description="A word, such as `timeout`; null when it succeeded.")]
    error_detail: Annotated[
        str | None,
        Meta(
            description="The same in a sentence that says what to do. Null when it succeeded, or for want of a record."
        ),
    ]
    response: Annotated[str, Meta(description="The same as `response_body`.")]


class TestResult(Struct):
    """What came of a test: what is shown of an attempt, too, but kept nowhere."""

    __test__ = False

    event_id: Annotated[UUID, Meta(description="The `webhook-id` that was sent.")]
    delivered: bool
    url: str
    started_at: Time
    duration_ms: Milliseconds
    timings: TimingsShown
    remote_address: Annotated[str | None, Meta(description="The address connected to; null when there was none.")]
    request_headers: Annotated[
        HeaderFields, Meta(description="As sent; the values of the subscription's own are masked.")
    ]
    request_body: Annotated[str, Meta(description="As sent.")]
    status_code: Annotated[int | None, Meta(description="Null when no answer came.")]
    response_headers: Annotated[HeaderFields, Meta(description="Up to 4 KiB. Values of a repeated field are joined.")]
    response_body: Annotated[str, Meta(description="The begin of the answer, up to 20 KiB.")]
    error: Annotated[str | None, Meta(description="A word, such as `timeout`; null when it was delivered.")]
    error_detail: Annotated[
        str | None, Meta(description="The same in a sentence that says what to do; null when it was delivered.")
    ]
    detail: Annotated[str, Meta(description="What came of it in a sentence, also when it was delivered.")]
    response: Annotated[str, Meta(description="The same as `response_body`.")]


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
            description="Why it is `held`: its subscription is paused or disabled, the endpoint rests, the"
            " organization is suspended, its turn by the subscription's rate limit has not come, or an earlier delivery"
            " of its key has not ended (`order`)."
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
    sequence: Annotated[
        int | None,
        Meta(
            description="Its number in the order of its key, the `webhook-sequence`: one more than that of the delivery"
            " before. Null without an order, and until its turn has come."
        ),
    ]


class DeliveryDetails(DeliveryFields):
    """A delivery with its attempts: the latest 100, oldest first. Leases of an inbox are no attempts."""

    attempts: list[AttemptShown]


class DeliveryShown(DeliveryFields):
    """A delivery, in a list."""

    attempts: Annotated[
        int, Meta(ge=0, description="How many, also before it was retried by hand; of an inbox, how many leases.")
    ]


class DeliveryList(Listed[DeliveryShown]):
    """Deliveries of a subscription, newest event first."""


EXAMPLE_ATTEMPT = {
    "number": 1,
    "url": "https://example.com/webhooks",
    "started_at": EXAMPLE_TIME,
    "duration_ms": 42,
    "timings": {"dns_ms": 3, "connect_ms": 8, "tls_ms": 12, "first_byte_ms": 19, "total_ms": 42},
    "remote_address": "93.184.215.14",
    "request_headers": {
        "Host": "example.com",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Authorization": "****0ken",
        "content-type": "application/json",
        "user-agent": "EventsPlatform/1",
        "webhook-id": EXAMPLE_ID,
        "webhook-timestamp": "1795514400",
        "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
        "Content-Length": "142",
    },
    "status_code": 200,
    "response_headers": {"Content-Type": "text/plain", "Content-Length": "2"},
    "response_body": "ok",
    "error": None,
    "error_detail": None,
    "response": "ok",
}
_FAULT = "The endpoint answered 500 (Internal Server Error): the fault is on its side; see its log."
EXAMPLE_TEST = {
    **{name: value for name, value in EXAMPLE_ATTEMPT.items() if name != "number"},
    "event_id": EXAMPLE_ID,
    "delivered": False,
    "request_body": f'{{"id":"{EXAMPLE_ID}","type":"invoice.paid","timestamp":"{EXAMPLE_TIME}",'
    '"data":{"amount":12900}}',
    "status_code": 500,
    "response_body": "Internal Server Error",
    "error": "http_error",
    "error_detail": _FAULT,
    "detail": _FAULT,
    "response": "Internal Server Error",
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
    "sequence": None,
    "attempts": [EXAMPLE_ATTEMPT],
}
_LISTED_DELIVERY = {**EXAMPLE_DELIVERY, "attempts": 1}
_STATUS = parameter("status", "Only deliveries with this status.", enum=DeliveryStatus.values)
_FILTERS = (
    _STATUS,
    parameter(
        "error",
        "Only deliveries that failed last with this code, such as `timeout`.",
    ),
    parameter(
        "status_code",
        "Only deliveries of which an attempt was answered with this status of HTTP.",
        type="integer",
        minimum=100,
        maximum=599,
    ),
    parameter(
        "event_type", "Only deliveries of events of this type; with a trailing `*`, of every type that starts so."
    ),
    *(
        parameter(
            f"received_{side}",
            f"Only deliveries of events that were received {side} this time, in RFC 3339.",
            format="date-time",
        )
        for side in ("after", "before")
    ),
)

SUBSCRIPTION_DELIVERIES = get(
    "list_deliveries",
    "List the deliveries of a subscription",
    "With any filter but `status`, the newest 1 000 deliveries are looked at for a page, so it may have"
    " fewer rows than `limit`, or none, and a `next_cursor` all the same.",
    parameters=(*_FILTERS, *PAGE),
    answers=page_of(DeliveryList, "deliveries", _LISTED_DELIVERY),
)
DELIVERY = get(
    "get_delivery",
    "Show a delivery with its attempts",
    answers=answer("The delivery.", DeliveryDetails, delivery=EXAMPLE_DELIVERY),
)
RETRY = post(
    "retry_delivery",
    "Retry a delivery",
    "It is due now, whatever its status. One that is delivered or a dead letter starts over, with every"
    " attempt ahead. It is tried at once, also while the endpoint rests; one of a paused or disabled subscription"
    " stays held until that is resumed. Of a subscription with an order, a dead letter that holds its key is tried"
    " at once, another one that has ended comes last of its key, and one that waits for an earlier one is refused.",
    answers=answer(
        "The delivery is due.",
        DeliveryShown,
        status=202,
        delivery={
            **_LISTED_DELIVERY,
            "status": "pending",
            "delivered_at": None,
        },
    ),
    problems=("limit_reached", "wrong_state"),
)
SKIP = post(
    "skip_delivery",
    "Skip a delivery that others wait for",
    "Of a subscription with an order: what waits behind it goes on without it. A dead letter that holds"
    " its key stays one; a delivery that is not over ends as a dead letter with the error `skipped`. It can be"
    " retried later, and comes last of its key then.",
    answers=answer(
        "The delivery.",
        DeliveryShown,
        delivery={
            **_LISTED_DELIVERY,
            "status": "dead_letter",
            "last_error": "skipped",
            "delivered_at": None,
        },
    ),
    problems=("wrong_state",),
)
