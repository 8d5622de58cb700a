"""Who calls? One coroutine with a short cache for both doors, and DRF's classes over it."""

import hmac
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from structlog.contextvars import bind_contextvars

from core.ports import KeyedDatabase, SyncDatabase, run_now
from core.problems import Problem
from organizations.audit import Actor, ActorKind, agent_of
from organizations.keys.key_format import hash_key, public_id
from organizations.keys.key_use import note_use
from organizations.plans import limits_of
from rest.compat import django_request
from rest.doors.client_address import client_address

# About 600 bytes an entry: at most some 12 MB in each process, also under a flood of made-up keys.
CACHE_SIZE = 20_000
# How long others go on with the old answer while one request asks anew; with API_KEY_CACHE_SECONDS below 2 s.
_ASKING_SECONDS = 0.3
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="events"'}

_FIND = """
SELECT key.public_id, key.key_hash, key.id, key.name, key.scopes, key.expires_at, key.revoked_at,
       organization.id, organization.plan, organization.events_per_minute_override, organization.suspended_at
FROM organizations_apikey AS key
JOIN organizations_organization AS organization ON organization.id = key.organization_id
WHERE key.public_id = ANY(%s::text[])
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitter:
    """Whoever sends events for an organization: a key, or a person."""

    organization_id: UUID
    events_per_minute: int
    # The public part of the key, by which people find it; empty for a person.
    key_prefix: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller(Submitter):
    """The API key behind a request, and its organization."""

    key_id: UUID
    key_label: str
    scopes: frozenset[str]
    expires_at: datetime | None
    is_suspended: bool = False
    is_authenticated: bool = True

    def actor(self, address: str | None, user_agent: str) -> Actor:
        return Actor(kind=ActorKind.API_KEY, label=self.key_label, address=address, user_agent=user_agent)


# SHA-256 of the key → (when the entry ends on the monotonic clock, the caller or the code of the refusal).
_cache: OrderedDict[bytes, tuple[float, Caller | str]] = OrderedDict()


async def authenticate(database: KeyedDatabase, headers: Mapping[str, str], *, also_suspended: bool = False) -> Caller:
    """The caller behind a request's headers (names in lower case); raises Problem 401 or 403.

    An answer may be as old as API_KEY_CACHE_SECONDS and the time of one query. `also_suspended`: what is asked for is
    open to a suspended organization (`open_to_suspended` of a rest.openapi.Operation); nothing is unless it says so.
    """
    plaintext = _api_key_in(headers)
    digest = hash_key(plaintext)
    ends, outcome = _cache.get(digest, (0.0, ""))
    if ends <= time.monotonic():
        outcome = await _ask(database, plaintext, digest)
    if not isinstance(outcome, Caller):
        raise Problem(outcome, headers=_CHALLENGE)
    if outcome.expires_at is not None and outcome.expires_at <= timezone.now():
        raise Problem("api_key_expired", headers=_CHALLENGE)
    if outcome.is_suspended and not also_suspended:
        raise Problem("organization_suspended")
    return outcome


async def look_up_nobody(database: KeyedDatabase) -> None:
    """Ask for a key that nobody has, as `authenticate` asks. Raises the database's errors."""
    await database.find(_FIND, "")


def require_scope(caller: Caller, scope: str) -> None:
    """Raises Problem 403 when the caller's key lacks the scope."""
    if scope not in caller.scopes:
        raise Problem("insufficient_scope", f"This needs the scope {scope}.")


def forget_cached_keys() -> None:
    """Drop what this process remembers, for tests."""
    _cache.clear()


def _api_key_in(headers: Mapping[str, str]) -> str:
    """`Authorization: Bearer <key>`, or `X-API-Key: <key>`."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    plaintext = credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
    if not plaintext:
        raise Problem("missing_api_key", headers=_CHALLENGE)
    return plaintext


async def _ask(database: KeyedDatabase, plaintext: str, digest: bytes) -> Caller | str:
    """Look the key up and remember the answer; a key of the wrong form costs no query."""
    found_id = public_id(plaintext)
    if found_id is None:
        return "invalid_api_key"
    if digest in _cache:  # a busy key has just grown old: one request asks, the others need not
        _cache[digest] = (time.monotonic() + _ASKING_SECONDS, _cache[digest][1])
    try:
        row = await database.find(_FIND, found_id)
    except BaseException:
        _cache.pop(digest, None)
        raise
    outcome = _judge(found_id, row, digest)
    _cache[digest] = (time.monotonic() + settings.API_KEY_CACHE_SECONDS, outcome)
    _cache.move_to_end(digest)
    while len(_cache) > CACHE_SIZE:
        _cache.popitem(last=False)
    return outcome


def _judge(found_id: str, row: tuple[Any, ...] | None, digest: bytes) -> Caller | str:
    """The caller of a row of _FIND, or the code of the refusal."""
    if row is None or not hmac.compare_digest(bytes(row[1]), digest):
        return "invalid_api_key"
    key_id, name, scopes, expires_at, revoked_at, organization_id, plan, override, suspended_at = row[2:]
    if revoked_at is not None:
        return "api_key_revoked"
    if suspended_at is None:
        note_use(key_id)
    return Caller(
        key_id=key_id,
        key_label=f"{name} ({found_id}…)",
        organization_id=organization_id,
        scopes=frozenset(scopes),
        events_per_minute=limits_of(plan, events_per_minute=override, retention_days=None).events_per_minute,
        expires_at=expires_at,
        key_prefix=found_id,
        is_suspended=suspended_at is not None,
    )


class ApiKeyAuthentication(BaseAuthentication):
    """The API's authentication for DRF; leaves the caller on Django's request too, for the middleware."""

    def authenticate(self, request: Request) -> tuple[Any, None]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        view: Any = (request.parser_context or {})["view"]
        operation = view.operations.get(_method_of(request))
        is_open = operation is not None and operation.open_to_suspended
        caller = run_now(authenticate(SyncDatabase(), headers, also_suspended=is_open))
        django_request(request).caller = caller  # type: ignore[attr-defined]
        bind_contextvars(organization_id=caller.organization_id, key_prefix=caller.key_prefix)
        return caller, None

    def authenticate_header(self, request: Request) -> str:
        return _CHALLENGE["WWW-Authenticate"]


class HasScope(BasePermission):
    """The view's `scopes` says per method which scope is needed; a method without one is open to every key."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if needed := view.scopes.get(_method_of(request)):
            require_scope(caller_of(request), needed)
        return True


def _method_of(request: Request) -> str:
    """A HEAD is asked for like the GET that it stands for."""
    return "GET" if request.method == "HEAD" else str(request.method)


def actor_of(request: Request) -> Actor:
    """Who acts by a DRF request, for the audit log."""
    return caller_of(request).actor(client_address(django_request(request)), agent_of(django_request(request)))


def caller_of(request: Request) -> Caller:
    """The authenticated caller of a DRF request."""
    caller = request.user
    assert isinstance(caller, Caller)  # noqa: S101 - every view authenticates
    return caller
