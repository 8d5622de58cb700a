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
    tls_ms: Annotated[Milliseconds | None, Meta(description="The TLS handshake.")]
    first_byte_ms: Annotated[
        Milliseconds | None, Meta(description="From sending the request to the first byte of the response.")
    ]
    total_ms: Annotated[Milliseconds, Meta(description="All of it, including reading the response.")]


class AttemptShown(Struct):
    """One request to a webhook, and its outcome. The body is that of the event, the same in every attempt.

    Some fields are null for attempts made before the platform recorded them.
    """

    number: Annotated[int, Meta(description="Counts from 1, manual retries included.")]
    url: Annotated[str | None, Meta(description="Where it was sent. Null if not recorded.")]
    started_at: Time
    duration_ms: Milliseconds
    timings: Annotated[TimingsShown | None, Meta(description="Null if not recorded.")]
    remote_address: Annotated[str | None, Meta(description="The address connected to; null when there was none.")]
    request_headers: Annotated[
        HeaderFields | None,
        Meta(description="As sent; values of the subscription's own headers are masked. Null if not recorded."),
    ]
    status_code: Annotated[int | None, Meta(description="Null when there was no response.")]
    response_headers: Annotated[
        HeaderFields | None,
        Meta(description="Up to 4 KiB. Values of a repeated field are joined. Null if not recorded."),
    ]
    response_body: Annotated[str, Meta(description="The beginning of the response, up to 20 KiB.")]
    error: Annotated[str | None, Meta(description="A word, such as `timeout`; null when it succeeded.")]
    error_detail: Annotated[
        str | None,
        Meta(description="The same as a sentence that says what to do. Null when it succeeded, or if not recorded."),
    ]
    response: Annotated[str, Meta(description="The same as `response_body`.")]


class TestResult(Struct):
    """The outcome of a test: the same as of an attempt, but stored nowhere."""

    __test__ = False

    event_id: Annotated[UUID, Meta(description="The `webhook-id` that was sent.")]
    delivered: bool
    url: str
    started_at: Time
    duration_ms: Milliseconds
    timings: TimingsShown
    remote_address: Annotated[str | None, Meta(description="The address connected to; null when there was none.")]
    request_headers: Annotated[
        HeaderFields, Meta(description="As sent; values of the subscription's own headers are masked.")
    ]
    request_body: Annotated[str, Meta(description="As sent.")]
    status_code: Annotated[int | None, Meta(description="Null when there was no response.")]
    response_headers: Annotated[HeaderFields, Meta(description="Up to 4 KiB. Values of a repeated field are joined.")]
    response_body: Annotated[str, Meta(description="The beginning of the response, up to 20 KiB.")]
    error: Annotated[str | None, Meta(description="A word, such as `timeout`; null when it was delivered.")]
    error_detail: Annotated[
        str | None, Meta(description="The same as a sentence that says what to do; null when it was delivered.")
    ]
    detail: Annotated[str, Meta(description="The outcome as a sentence, also when it was delivered.")]
    response: Annotated[str, Meta(description="The same as `response_body`.")]


class DeliveryFields(Struct):
    """An event on its way to a subscription."""

    id: UUID
    subscription: UUID
    event_id: UUID
    event_type: Annotated[str | None, Meta(description="Null once the event is past its retention.")]
    status: Literal["pending", "delivered", "retrying", "held", "dead_letter"]
    held_reason: Annotated[
        HeldReason | None,
        Meta(
            description="Why it is `held`: its subscription is paused or disabled, the endpoint rests, the"
            " organization is suspended, the subscription's rate limit defers it, or an earlier delivery"
            " of its key has not ended (`order`)."
        ),
    ]
    next_attempt_at: Annotated[
        Time | None,
        Meta(
            description="In the future; for a delivery held by an open circuit, when that ends. Null without such"
            " a time: it is due now, is over, or is held until somebody acts."
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
            " before it. Null without `order_by`, and until its turn comes."
        ),
    ]


class DeliveryDetails(DeliveryFields):
    """A delivery with its attempts: the latest 100, oldest first. Leases of an inbox are not attempts."""

    attempts: list[AttemptShown]


class DeliveryShown(DeliveryFields):
    """A delivery, in a list."""

    attempts: Annotated[
        int, Meta(ge=0, description="How many, including those before a manual retry; for an inbox, how many leases.")
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
        "Only deliveries whose latest failure has this code, such as `timeout`.",
    ),
    parameter(
        "status_code",
        "Only deliveries with an attempt that got this HTTP status.",
        type="integer",
        minimum=100,
        maximum=599,
    ),
    parameter(
        "event_type", "Only deliveries of events of this type; with a trailing `*`, every type that starts with it."
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
    "With any filter other than `status`, a page examines the newest 1 000 deliveries, so it may have"
    " fewer rows than `limit`, or none, and still have a `next_cursor`.",
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
    "Makes it due now, whatever its status. A delivered one or a dead letter starts over, with all its"
    " attempts ahead. It is tried at once, even while the endpoint rests; on a paused or disabled subscription,"
    " it stays held until that is resumed. With `order_by`, a dead letter that holds its key is tried at once, any"
    " other finished delivery goes to the end of its key, and one that waits for an earlier one is refused.",
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
    "For subscriptions with `order_by`: the deliveries behind it go on without it. A dead letter that"
    " holds its key stays one; an unfinished delivery becomes a dead letter with the error `skipped`. It can be"
    " retried later, and then goes to the end of its key.",
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
