"""`/api/v1/api-keys`."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from django.utils import timezone
from msgspec import UnsetType
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.decoding import decode
from core.problems import Problem, invalid
from core.times import format_time
from organizations.api import key_schemas
from organizations.api.key_schemas import ApiKeyIssued, ApiKeyShown, NewApiKey, Rotation
from organizations.keys.authentication import Caller, actor_of, caller_of
from organizations.keys.scopes import Scope
from organizations.models import ApiKey, Organization
from organizations.operations import IssuedKey, issue_key, refuse_if_over, revoke_key, rotate_key
from organizations.queries import own_key
from rest.lists import Listing, list_answer, read_page
from rest.parsing import read_body, read_optional

BODY_LIMIT = 64 * 1024


class KeysView(APIView):
    """List and create API keys."""

    scopes = {"GET": Scope.KEYS_MANAGE, "POST": Scope.KEYS_MANAGE}
    operations = key_schemas.KEYS

    def get(self, request: Request) -> HttpResponseBase:
        page = read_page(request, "api-keys")
        organization_id = caller_of(request).organization_id
        listing = Listing(
            rows=ApiKey.objects.for_organization(organization_id), describe=lambda keys: map(_describe, keys)
        )
        return list_answer(request, page, listing, owner=organization_id)

    def post(self, request: Request) -> Response:
        caller = caller_of(request)
        wanted = decode(read_body(request, limit=BODY_LIMIT), NewApiKey)
        _refuse_more_scopes(caller, wanted.scopes)
        if "\x00" in wanted.name:
            raise invalid("/name", "invalid", "NUL characters cannot be stored.")
        issued = issue_key(
            organization=Organization.objects.get(pk=caller.organization_id),
            name=wanted.name,
            scopes=wanted.scopes,
            expires_at=_checked_expiry(caller, wanted.expires_at or caller.expires_at),
            actor=actor_of(request),
        )
        return Response(_describe_issued(issued), status=201)


class KeyView(APIView):
    """One API key: look at it, revoke it."""

    scopes = {"GET": Scope.KEYS_MANAGE, "DELETE": Scope.KEYS_MANAGE}
    operations = key_schemas.KEY

    def get(self, request: Request, key_id: UUID) -> Response:
        return Response(_describe(own_key(caller_of(request).organization_id, key_id)))

    def delete(self, request: Request, key_id: UUID) -> Response:
        actor = actor_of(request)
        revoke_key(key=own_key(caller_of(request).organization_id, key_id), actor=actor)
        return Response(status=204)


class RotateKeyView(APIView):
    """A successor for a key, which goes on for `overlap_seconds`."""

    scopes = {"POST": Scope.KEYS_MANAGE}
    operations = key_schemas.ROTATE

    def post(self, request: Request, key_id: UUID) -> Response:
        caller = caller_of(request)
        key = own_key(caller_of(request).organization_id, key_id)
        rotation = read_optional(request, Rotation, limit=BODY_LIMIT)
        refuse_if_over(key, now=timezone.now())
        _refuse_more_scopes(caller, key.scopes)
        wanted = key.expires_at if isinstance(rotation.expires_at, UnsetType) else rotation.expires_at
        issued = rotate_key(
            key=key,
            overlap=timedelta(seconds=rotation.overlap_seconds),
            expires_at=_checked_expiry(caller, wanted),
            actor=actor_of(request),
        )
        return Response(_describe_issued(issued), status=201)


def _refuse_more_scopes(caller: Caller, scopes: list[Any]) -> None:
    """Otherwise a key for managing keys could make itself a key for everything."""
    if missing := sorted(set(scopes) - caller.scopes):
        raise Problem("insufficient_scope", f"A key cannot grant what it lacks: {', '.join(missing)}.")


def _checked_expiry(caller: Caller, moment: datetime | None) -> datetime | None:
    """In UTC, as PostgreSQL takes no offset of 16 hours or more; None for never.

    422 for what is past, beyond the year 9999, or later than the calling key's own: it would live on in the other one.
    """
    if moment is None:
        _refuse_later(caller, moment)
        return None
    try:
        moment = moment.astimezone(UTC)
    except OverflowError as error:
        raise invalid("/expires_at", "invalid", "The time is outside of the years 1 to 9999 in UTC.") from error
    if moment <= timezone.now():
        raise invalid("/expires_at", "in_the_past", "A key must expire in the future.")
    _refuse_later(caller, moment)
    return moment


def _refuse_later(caller: Caller, moment: datetime | None) -> None:
    latest = caller.expires_at
    if latest is not None and (moment is None or moment > latest):
        detail = f"The calling key expires at {format_time(latest)}: give that as expires_at, or an earlier time."
        raise invalid("/expires_at", "too_late", detail)


def _describe(key: ApiKey) -> ApiKeyShown:
    return ApiKeyShown(**_members(key))


def _describe_issued(issued: IssuedKey) -> ApiKeyIssued:
    return ApiKeyIssued(**_members(issued.key), key=issued.plaintext)


def _members(key: ApiKey) -> dict[str, Any]:
    times = ("created_at", "expires_at", "revoked_at", "last_used_at")
    moments = {name: getattr(key, name) for name in times}
    return {
        "id": key.id,
        "name": key.name,
        "public_id": key.public_id,
        "scopes": key.scopes,
        **{name: moment and format_time(moment) for name, moment in moments.items()},
    }
