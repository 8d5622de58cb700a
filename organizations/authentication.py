"""Who calls? One plain function with a short cache, and DRF's classes over it."""

import hmac
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from organizations.audit import Actor, ActorKind
from organizations.key_format import hash_key, public_id
from organizations.key_use import note_use
from organizations.models import ApiKey
from rest.problems import Problem

# About 600 bytes an entry: at most some 12 MB in each process, also under a flood of made-up keys.
CACHE_SIZE = 20_000
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="events"'}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The API key behind a request, and its organization."""

    key_id: UUID
    key_label: str
    organization_id: UUID
    scopes: frozenset[str]
    events_per_minute: int
    expires_at: datetime | None
    is_authenticated: bool = True

    def actor(self, address: str | None) -> Actor:
        return Actor(kind=ActorKind.API_KEY, label=self.key_label, address=address)


# SHA-256 of the key → (when the entry ends on the monotonic clock, the caller or the code of the refusal).
_cache: OrderedDict[bytes, tuple[float, Caller | str]] = OrderedDict()


def authenticate_key(plaintext: str) -> Caller:
    """The caller that owns `plaintext`; raises Problem 401 or 403. Answers may be 1.5 s old (the setting)."""
    found_id = public_id(plaintext)
    if found_id is None:
        raise Problem("invalid_api_key", headers=_CHALLENGE)
    digest = hash_key(plaintext)
    ends, outcome = _cache.get(digest, (0.0, ""))
    if ends <= time.monotonic():
        outcome = _look_up(found_id, digest)
        _cache[digest] = (time.monotonic() + settings.API_KEY_CACHE_SECONDS, outcome)
        while len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
    if isinstance(outcome, Caller) and outcome.expires_at and outcome.expires_at <= timezone.now():
        outcome = "api_key_expired"
    if isinstance(outcome, str):
        raise Problem(outcome, headers=_CHALLENGE if outcome != "organization_suspended" else None)
    return outcome


def forget_cached_keys() -> None:
    """Drop what this process remembers, for tests."""
    _cache.clear()


def _look_up(found_id: str, digest: bytes) -> Caller | str:
    key = ApiKey.objects.select_related("organization").filter(public_id=found_id).first()
    if key is None or not hmac.compare_digest(bytes(key.key_hash), digest):
        return "invalid_api_key"
    if key.revoked_at is not None:
        return "api_key_revoked"
    if key.organization.suspended_at is not None:
        return "organization_suspended"
    note_use(key.pk)
    return Caller(
        key_id=key.pk,
        key_label=str(key),
        organization_id=key.organization_id,
        scopes=frozenset(key.scopes),
        events_per_minute=key.organization.limits.events_per_minute,
        expires_at=key.expires_at,
    )


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>` or `X-API-Key: <key>`."""

    def authenticate(self, request: Request) -> tuple[Any, None]:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        plaintext = credentials.strip() if scheme.lower() == "bearer" else request.headers.get("X-API-Key", "").strip()
        if not plaintext:
            raise Problem("missing_api_key", headers=_CHALLENGE)
        return authenticate_key(plaintext), None

    def authenticate_header(self, request: Request) -> str:
        return _CHALLENGE["WWW-Authenticate"]


class HasScope(BasePermission):
    """The view's `scopes` says per method which scope is needed; a method without one is open to every key."""

    def has_permission(self, request: Request, view: Any) -> bool:
        needed = view.scopes.get(request.method)
        if needed and needed not in caller_of(request).scopes:
            raise Problem("insufficient_scope", f"This needs the scope {needed}.")
        return True


def caller_of(request: Request) -> Caller:
    """The authenticated caller of a DRF request."""
    caller = request.user
    assert isinstance(caller, Caller)  # noqa: S101 - every view authenticates
    return caller
