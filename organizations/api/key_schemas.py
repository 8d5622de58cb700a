"""`/api/v1/api-keys`: bodies and answers, as the views use them and as `/api/schema` shows them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from organizations.keys.scopes import Scope
from rest.openapi import EXAMPLE_ID, EXAMPLE_TIME, PAGE, Listed, Time, answer, delete, get, json_of, page_of, post

MAX_OVERLAP = 30 * 24 * 3600


class NewApiKey(Struct, forbid_unknown_fields=True):
    """An API key to be made."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=20)]
    expires_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(
            description="In the future, and no later than the calling key's. By default as late as that: never, when"
            " the calling key never expires."
        ),
    ] = None


class Rotation(Struct, forbid_unknown_fields=True):
    """How long the old key goes on beside its successor, and when that expires."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=MAX_OVERLAP)] = 86_400
    expires_at: (
        Annotated[
            Annotated[datetime, Meta(tz=True)] | None,
            Meta(
                description="In the future, and no later than the calling key's; null for never. By default the"
                " successor expires when the old key would have."
            ),
        ]
        | UnsetType
    ) = UNSET


class ApiKeyShown(Struct):
    """An API key, without the key itself."""

    id: UUID
    name: str
    public_id: Annotated[str, Meta(description="The part of the key by which it can be told from others.")]
    scopes: list[Scope]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Annotated[Time | None, Meta(description="To about a minute.")]


class ApiKeyIssued(ApiKeyShown):
    """A new API key. `key` is shown here and never again."""

    key: Annotated[str, Meta(pattern="^evp_[a-z]{2,10}_[0-9A-Za-z]{51}$")]


class ApiKeyList(Listed[ApiKeyShown]):
    """API keys, newest first, revoked ones too."""


_KEY = {
    "id": EXAMPLE_ID,
    "name": "Billing service",
    "public_id": "3rTgB0aVx9Qk",
    "scopes": ["events:write"],
    "created_at": EXAMPLE_TIME,
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": None,
}
_ISSUED = {**_KEY, "key": "evp_live_3rTgB0aVx9Qk" + "Zk4sN8uE1wXy7LmPq2RtVb5CdFg6HjJ0AeSoIyK"}

KEYS = get("list_api_keys", "List API keys", parameters=PAGE, answers=page_of(ApiKeyList, "API keys", _KEY)) | post(
    "create_api_key",
    "Create an API key",
    "The new key can have no scope that the calling key lacks, and cannot outlive it."
    " `GET /api/v1/organization` says how many active keys an organization can have.",
    body=json_of(
        NewApiKey,
        minimal={"name": "Billing service", "scopes": ["events:write"]},
        expiring={"name": "CI", "scopes": ["events:read"], "expires_at": "2099-01-01T00:00:00Z"},
    ),
    answers=answer("The new key, shown this once.", ApiKeyIssued, status=201, key=_ISSUED),
    problems=("limit_reached",),
)
KEY = get("get_api_key", "Show an API key", answers=answer("The API key.", ApiKeyShown, key=_KEY)) | delete(
    "revoke_api_key",
    "Revoke an API key",
    "It is refused everywhere within two seconds, and stays listed. Revoking it again changes nothing.",
    answers=answer("The key is revoked.", status=204),
)
ROTATE = post(
    "rotate_api_key",
    "Rotate an API key",
    "Makes a successor with the same name, scopes and expiry; the old key ends after"
    " `overlap_seconds`. Without a body, that is a day. A key that was revoked or has expired has no successor. The"
    " calling key needs every scope of the old key, and may not expire before the successor.",
    body=json_of(
        Rotation,
        one_hour={"overlap_seconds": 3600},
        at_once={"overlap_seconds": 0},
        until={"expires_at": "2099-01-01T00:00:00Z"},
    ),
    body_required=False,
    answers=answer("The successor, shown this once.", ApiKeyIssued, status=201, key=_ISSUED),
    problems=("limit_reached", "wrong_state"),
)
