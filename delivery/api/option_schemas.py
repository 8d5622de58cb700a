"""Options of a subscription, as `/api/v1/subscriptions` takes and shows them."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from delivery.endpoints.auth_rules import MAX_CREDENTIAL, MAX_PEM, MTLS, OAUTH2
from delivery.endpoints.option_rules import (
    IN_FLIGHT,
    MAX_RETRIES,
    MAX_RETRY_SECONDS,
    MAX_TAG_LENGTH,
    MAX_TAGS,
    PER_SECOND,
    TIMEOUT_SECONDS,
)
from delivery.matching.event_view import MAX_PATH_LENGTH
from rest.openapi import Time

Url = Annotated[
    str,
    Meta(
        max_length=2048,
        description="Where to send: `https`, unless the platform allows `http`, and no private address.",
    ),
]
Tags = Annotated[
    list[str],
    Meta(
        description="Labels of your own, such as the customer that the subscription belongs to. Null for none.",
        extra_json_schema={"maxItems": MAX_TAGS, "items": {"type": "string", "maxLength": MAX_TAG_LENGTH}},
    ),
]
TimeoutSeconds = Annotated[
    float,
    Meta(
        ge=TIMEOUT_SECONDS[0],
        le=TIMEOUT_SECONDS[1],
        description="How long the endpoint has to answer. Null for the platform's setting, which is 15 unless its"
        " operator says otherwise.",
    ),
]
RetrySchedule = Annotated[
    list[int],
    Meta(
        description="The waits before each retry, in seconds, together at most 30 days; up to 20 % is added to each. An"
        " empty list means no retry, null the platform's schedule.",
        extra_json_schema={
            "maxItems": MAX_RETRIES,
            "items": {"type": "integer", "minimum": 1, "maximum": MAX_RETRY_SECONDS},
        },
    ),
]
MaxInFlight = Annotated[
    int,
    Meta(
        ge=IN_FLIGHT[0],
        le=IN_FLIGHT[1],
        description="How many requests to the endpoint may be in progress at once, from all senders together. Null for"
        " up to 20 from each, fewer while it is slow or fails.",
    ),
]
OrderBy = Annotated[
    str,
    Meta(
        max_length=MAX_PATH_LENGTH,
        description="`subject`, `source`, `type` or `data.<path>`: events with the same value there are delivered one"
        " after another, in the order in which they were accepted. Null, or an event without it: no order.",
    ),
]
OnDeadLetterChoice = Annotated[
    Literal["skip", "hold"],
    Meta(
        description="With `order_by`: what happens to the events behind a dead letter. `skip`, which null stands for:"
        " the next one is delivered; `hold`: they wait until somebody retries or skips it."
    ),
]
SignatureVersion = Annotated[
    Literal["v1", "v1a"],
    Meta(
        description="`v1`: an HMAC with a secret that both sides know; `v1a`: Ed25519, verified with a `public_key`."
        " Null is `v1`. When it changes, the previous secret also signs for 24 hours."
    ),
]


class RateLimit(Struct, forbid_unknown_fields=True):
    """How many requests are sent per second, evenly, from all senders together; the others are held meanwhile."""

    per_second: Annotated[float, Meta(ge=PER_SECOND[0], le=PER_SECOND[1], description="0.1 is one in ten seconds.")]


class OAuth2(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True, tag_field="type", tag=OAUTH2):
    """A token that the platform fetches (RFC 6749, client credentials), keeps, and renews after a 401."""

    token_url: Annotated[Url, Meta(description="Where the token comes from; as guarded as the `url`.")]
    client_id: Annotated[str, Meta(min_length=1, max_length=MAX_CREDENTIAL)]
    client_secret: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=MAX_CREDENTIAL,
                description="Never shown again. A change may leave it out, unless `url` or `token_url` lead to another"
                " scheme, host or port.",
            ),
        ]
        | UnsetType
    ) = UNSET
    scope: Annotated[str, Meta(min_length=1, max_length=MAX_CREDENTIAL)] | None = None


class MutualTls(Struct, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag=MTLS):
    """A certificate that the platform shows to the endpoint. A change may leave out both texts, or give both."""

    certificate: (
        Annotated[str, Meta(min_length=1, max_length=MAX_PEM, description="PEM, with its chain. Never shown again.")]
        | UnsetType
    ) = UNSET
    private_key: (
        Annotated[str, Meta(min_length=1, max_length=MAX_PEM, description="PEM, no password. Never shown again.")]
        | UnsetType
    ) = UNSET


GivenAuth = OAuth2 | MutualTls


class OAuth2Shown(Struct, kw_only=True, tag_field="type", tag=OAUTH2):
    """How a webhook authorizes itself, without the secret."""

    token_url: str
    client_id: str
    scope: str | None = None


class MutualTlsShown(Struct, kw_only=True, tag_field="type", tag=MTLS):
    """How a webhook authorizes itself, without certificate and key."""

    expires_at: Annotated[Time, Meta(description="When the certificate ends; its owners are told 14 days ahead.")]
