"""`/api/v1/subscriptions`: bodies and answers, as the views use them and as `/api/schema` shows them."""

from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from core.field_errors import text_like
from delivery.api.option_schemas import (
    GivenAuth,
    MaxInFlight,
    MutualTlsShown,
    OAuth2Shown,
    OnDeadLetterChoice,
    OrderBy,
    RateLimit,
    RetrySchedule,
    SignatureVersion,
    Tags,
    TimeoutSeconds,
    Url,
)
from delivery.api.webhook_schemas import EXAMPLE_SECRET
from delivery.endpoints.header_rules import MAX_HEADERS
from delivery.kinds.inbox import INBOX_NAME
from delivery.matching.matching import MAX_PATTERNS
from delivery.models import DisabledReason, SubscriptionKind
from rest.openapi import (
    EXAMPLE_ID,
    EXAMPLE_TIME,
    PAGE,
    Listed,
    Time,
    answer,
    delete,
    get,
    json_of,
    page_of,
    parameter,
    patch,
    post,
)

EventTypes = Annotated[
    list[str],
    Meta(
        description="Event types; with a trailing `*`, every type that starts with it.",
        extra_json_schema={"minItems": 1, "maxItems": MAX_PATTERNS},
    ),
]
GivenFilter = Annotated[
    dict[str, Any] | None,
    Meta(
        description='Which events of these types, as `{"data.amount": {"gte": 1000}, "data.currency": "EUR"}`; null for'
        " all. Operators: `eq`, `ne`, `in`, `gt`, `gte`, `lt`, `lte`, `prefix`, `exists`; `any` and `all` combine lists"
        " of filters."
    ),
]
Description = Annotated[str, Meta(max_length=2000)]
Label = Annotated[
    str, Meta(max_length=100, description="A name for people to recognize it by; null or empty for none.")
]
InboxName = Annotated[str, text_like(INBOX_NAME, "1 to 100 of A-Za-z0-9._-")]
# Of any values, so that check_headers() names the header whose value is no string.
Headers = Annotated[
    dict[str, Any],
    Meta(
        description=f"Sent with every webhook; up to {MAX_HEADERS}. Responses mask their values, and a mask is not"
        " accepted as a value.",
        extra_json_schema={"maxProperties": MAX_HEADERS, "additionalProperties": {"type": "string"}},
    ),
]
MaxLeases = Annotated[
    int, Meta(ge=1, le=1000, description="After this many leases without an ack, an event is a dead letter.")
]
ShownStatus = Literal["active", "paused", "disabled"]
SHOWN_STATUSES: list[str] = [*get_args(ShownStatus)]


class NewWebhook(
    Struct, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag=SubscriptionKind.WEBHOOK.value
):
    """A webhook to create: events are sent to its URL."""

    url: Url
    name: Label | UnsetType | None = UNSET
    description: Description | UnsetType = UNSET
    event_types: EventTypes | UnsetType = UNSET
    filter: GivenFilter | UnsetType = UNSET
    headers: Headers | UnsetType = UNSET
    tags: Tags | UnsetType | None = UNSET
    order_by: OrderBy | UnsetType | None = UNSET
    on_dead_letter: OnDeadLetterChoice | UnsetType | None = UNSET
    timeout_seconds: TimeoutSeconds | UnsetType | None = UNSET
    retry_schedule: RetrySchedule | UnsetType | None = UNSET
    rate_limit: RateLimit | UnsetType | None = UNSET
    max_in_flight: MaxInFlight | UnsetType | None = UNSET
    signature: SignatureVersion | UnsetType | None = UNSET
    auth: GivenAuth | UnsetType | None = UNSET


class NewInbox(Struct, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag=SubscriptionKind.INBOX.value):
    """An inbox to create: events wait in it for a consumer."""

    name: InboxName
    description: Description | UnsetType = UNSET
    event_types: EventTypes | UnsetType = UNSET
    filter: GivenFilter | UnsetType = UNSET
    tags: Tags | UnsetType | None = UNSET
    order_by: OrderBy | UnsetType | None = UNSET
    on_dead_letter: OnDeadLetterChoice | UnsetType | None = UNSET
    max_leases: MaxLeases | UnsetType = UNSET


NewSubscription = NewWebhook | NewInbox


class SubscriptionPatch(Struct, forbid_unknown_fields=True, kw_only=True):
    """What to set; the rest stays, and null clears an option.

    `max_leases` is for inboxes; what inboxes have no use for, such as `url` or `retry_schedule`, is for webhooks.
    """

    name: Label | UnsetType | None = UNSET
    description: Description | UnsetType = UNSET
    event_types: EventTypes | UnsetType = UNSET
    filter: GivenFilter | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    headers: (
        Annotated[
            dict[str, Any],
            Meta(
                description="Replaces all headers. The mask of a value keeps that value, under the same name only (in"
                " any case). When `url` changes scheme, host or port, give the values themselves.",
                extra_json_schema={"additionalProperties": {"type": "string"}},
            ),
        ]
        | UnsetType
    ) = UNSET
    tags: Tags | UnsetType | None = UNSET
    order_by: OrderBy | UnsetType | None = UNSET
    on_dead_letter: OnDeadLetterChoice | UnsetType | None = UNSET
    timeout_seconds: TimeoutSeconds | UnsetType | None = UNSET
    retry_schedule: RetrySchedule | UnsetType | None = UNSET
    rate_limit: RateLimit | UnsetType | None = UNSET
    max_in_flight: MaxInFlight | UnsetType | None = UNSET
    signature: SignatureVersion | UnsetType | None = UNSET
    auth: GivenAuth | UnsetType | None = UNSET
    max_leases: MaxLeases | UnsetType = UNSET


class Circuit(Struct):
    """The endpoint rests after many failures in a row: its deliveries are held."""

    open_until: Annotated[Time, Meta(description="When the next delivery is tried, at the latest.")]
    reason: Annotated[str, Meta(description="A sentence to show to people.")]


class Health(Struct):
    """How a webhook is doing."""

    failing_since: Annotated[Time | None, Meta(description="Since when every attempt has failed.")]
    failures: Annotated[int, Meta(ge=0, description="How many in a row.")]
    circuit: Annotated[Circuit | None, Meta(description="Null while deliveries are sent.")]
    circuit_open_until: Annotated[Time | None, Meta(description="The same as `open_until` of the circuit.")]
    last_attempt_at: Time | None
    last_success_at: Time | None
    last_error: str | None


class SubscriptionShown(Struct):
    """A subscription."""

    id: UUID
    kind: SubscriptionKind
    name: Annotated[
        str, Meta(description="For an inbox, what consumers ask for; for a webhook, a label, which may be empty.")
    ]
    url: Annotated[str | None, Meta(description="Null for an inbox.")]
    description: str
    event_types: list[str]
    filter: dict[str, Any] | None
    headers: Annotated[
        dict[str, str], Meta(description="With masked values: `****` and the last four characters of a long one.")
    ]
    tags: list[str] | None
    order_by: str | None
    on_dead_letter: Annotated[
        Literal["skip", "hold"] | None, Meta(description="Null only without an `order_by`, if it was never set.")
    ]
    timeout_seconds: float | None
    retry_schedule: list[int] | None
    rate_limit: RateLimit | None
    max_in_flight: int | None
    signature: Literal["v1", "v1a"] | None
    public_key: Annotated[
        str | None,
        Meta(
            description="For a webhook with `v1a`: the key to verify signatures with. `whpk_` and 32 bytes in base64."
        ),
    ]
    auth: Annotated[OAuth2Shown | MutualTlsShown | None, Meta(description="Without its secrets.")]
    status: ShownStatus
    disabled_reason: DisabledReason | None
    disabled_at: Time | None
    created_at: Time
    health: Health
    max_leases: Annotated[int | None, Meta(description="Null for a webhook.")]


class SubscriptionCreated(SubscriptionShown):
    """A new subscription; a webhook with the secret that signs what it gets, unless it has a `public_key`."""

    secret: Annotated[str, Meta(pattern="^whsec_")] | UnsetType = UNSET


class SubscriptionList(Listed[SubscriptionShown]):
    """Subscriptions, newest first."""


_WEBHOOK = {
    "id": EXAMPLE_ID,
    "kind": "webhook",
    "name": "",
    "url": "https://example.com/webhooks",
    "description": "Tells the ledger of invoices.",
    "event_types": ["invoice.*"],
    "filter": {"data.amount": {"gte": 1000}},
    "headers": {"Authorization": "****cret"},
    "tags": ["ledger"],
    "order_by": "subject",
    "on_dead_letter": "skip",
    "timeout_seconds": None,
    "retry_schedule": [10, 60, 600],
    "rate_limit": {"per_second": 50},
    "max_in_flight": None,
    "signature": None,
    "public_key": None,
    "auth": {
        "type": "oauth2_client_credentials",
        "token_url": "https://auth.example.com/token",
        "client_id": "platform",
        "scope": None,
    },
    "status": "active",
    "disabled_reason": None,
    "disabled_at": None,
    "created_at": EXAMPLE_TIME,
    "health": {
        "failing_since": None,
        "failures": 0,
        "circuit": None,
        "circuit_open_until": None,
        "last_attempt_at": EXAMPLE_TIME,
        "last_success_at": EXAMPLE_TIME,
        "last_error": None,
    },
    "max_leases": None,
}
_SHOWN = answer("The subscription.", SubscriptionShown, webhook=_WEBHOOK)


SUBSCRIPTIONS = get(
    "list_subscriptions",
    "List subscriptions",
    parameters=(
        parameter("kind", "Only subscriptions of this kind.", enum=SubscriptionKind.values),
        parameter("status", "Only subscriptions with this status.", enum=SHOWN_STATUSES),
        *PAGE,
    ),
    answers=page_of(SubscriptionList, "subscriptions", _WEBHOOK),
) | post(
    "create_subscription",
    "Create a subscription",
    "It receives the matching events that are accepted from now on. `GET /api/v1/organization` says how"
    " many subscriptions an organization can have.",
    body=json_of(
        NewSubscription,
        minimal={"kind": "webhook", "url": "https://example.com/webhooks"},
        webhook={
            "kind": "webhook",
            "url": "https://example.com/webhooks",
            "event_types": ["invoice.*"],
            "filter": {"data.amount": {"gte": 1000}},
            "headers": {"Authorization": "Bearer the-endpoint's-secret"},
            "order_by": "subject",
            "retry_schedule": [10, 60, 600],
            "rate_limit": {"per_second": 50},
            "auth": {
                "type": "oauth2_client_credentials",
                "token_url": "https://auth.example.com/token",
                "client_id": "platform",
                "client_secret": "the-client's-secret",
            },
        },
        inbox={"kind": "inbox", "name": "ledger", "event_types": ["invoice.*"]},
    ),
    answers=answer(
        "The new subscription.", SubscriptionCreated, status=201, webhook={**_WEBHOOK, "secret": EXAMPLE_SECRET}
    ),
    problems=("inbox_exists", "limit_reached"),
    version="shown",
)
SUBSCRIPTION = (
    get("get_subscription", "Show a subscription", answers=_SHOWN, version="shown")
    | patch(
        "update_subscription",
        "Change a subscription",
        "Applies to events that have not been processed yet. The kind cannot be changed, nor what the inbox"
        " `default` takes. Stored header values and secrets of `auth` are never sent to another endpoint: when `url`"
        " changes scheme, host or port, they must be given again.",
        body=json_of(
            SubscriptionPatch,
            types={"event_types": ["invoice.*", "order.paid"]},
            no_filter={"filter": None, "description": "All of them."},
            schedule_of_the_platform={"retry_schedule": None},
        ),
        answers=_SHOWN,
        problems=("inbox_exists", "limit_reached", "wrong_state", "headers_required"),
        version="expected",
    )
    | delete(
        "delete_subscription",
        "Delete a subscription",
        "Nothing more is delivered to it. The inbox `default` cannot be deleted.",
        answers=answer("The subscription is deleted.", status=204),
        problems=("wrong_state",),
        version="expected",
    )
)
PAUSE = post(
    "pause_subscription",
    "Pause a subscription",
    "Its deliveries are held until it is resumed. Pausing it again changes nothing.",
    answers=_SHOWN,
    problems=("wrong_state",),
    version="shown",
)
RESUME = post(
    "resume_subscription",
    "Resume a subscription",
    "Delivers what was held, and enables a disabled subscription again. If it is active and"
    " its endpoint rests, that ends; otherwise nothing changes.",
    answers=_SHOWN,
    version="shown",
)
