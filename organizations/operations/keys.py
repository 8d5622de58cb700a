"""Issue, rotate and revoke API keys."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from msgspec import UNSET, UnsetType

from core.problems import Problem
from core.times import format_time
from organizations.audit import Actor, record
from organizations.keys.key_format import generate_key, hash_key, public_id
from organizations.keys.scopes import Scope
from organizations.limits import hold_limits, refuse_over
from organizations.models import ApiKey, Organization
from organizations.operations.retention import ended_keys
from organizations.usage import active_keys


@dataclass(frozen=True, kw_only=True)
class IssuedKey:
    """A new key; `plaintext` exists only here, show it once."""

    key: ApiKey
    plaintext: str


# Revoked and expired ones that are still listed; older ones make room.
MAX_ENDED_KEYS = 1_000


@transaction.atomic
def issue_key(
    *,
    organization: Organization,
    name: str,
    scopes: Iterable[str],
    actor: Actor,
    expires_at: datetime | None = None,
    is_successor: bool = False,
) -> IssuedKey:
    """A new key with these scopes. Raises ValueError for an unknown scope, Problem 409 for a key too many.

    A full organization can still rotate: during the overlap a successor stands beside the key that it replaces.
    """
    _make_room(organization, most_factor=2 if is_successor else 1)
    wanted = sorted({Scope(scope).value for scope in scopes})
    plaintext = generate_key(settings.API_KEY_ENVIRONMENT)
    found_id = public_id(plaintext)
    assert found_id is not None  # noqa: S101 - it has just been made
    key = ApiKey.objects.create(
        organization=organization,
        name=name,
        public_id=found_id,
        key_hash=hash_key(plaintext),
        scopes=wanted,
        expires_at=expires_at,
    )
    record(
        actor=actor,
        action="api_key.issued",
        target=key,
        organization=organization,
        changes={"scopes": wanted, "expires_at": expires_at and format_time(expires_at)},
    )
    return IssuedKey(key=key, plaintext=plaintext)


@transaction.atomic
def rotate_key(
    *, key: ApiKey, overlap: timedelta, actor: Actor, expires_at: datetime | UnsetType | None = UNSET
) -> IssuedKey:
    """A successor with the same name and scopes; the old key ends after `overlap`, or earlier if it would anyway.

    The successor ends when the old key would have, or at `expires_at`. Raises Problem 409 when the old key was revoked
    or has expired: what is over has no successor.
    """
    now = timezone.now()
    locked = ApiKey.objects.select_for_update(no_key=True).get(pk=key.pk)
    refuse_if_over(locked, now=now)
    ends = now + overlap
    if locked.expires_at is None or locked.expires_at > ends:
        ApiKey.objects.filter(pk=locked.pk).update(expires_at=ends)
    record(actor=actor, action="api_key.rotated", target=key, organization=key.organization,
           changes={"overlap_seconds": int(overlap.total_seconds())})  # fmt: skip
    return issue_key(
        organization=key.organization,
        name=locked.name,
        scopes=locked.scopes,
        actor=actor,
        is_successor=True,
        expires_at=locked.expires_at if isinstance(expires_at, UnsetType) else expires_at,
    )


def refuse_if_over(key: ApiKey, *, now: datetime) -> None:
    """Raises Problem 409 for a key that was revoked or has expired."""
    if key.revoked_at is not None:
        raise Problem("wrong_state", f"The key “{key.name}” was revoked, and has no successor. Create a new key.")
    if key.expires_at is not None and key.expires_at <= now:
        raise Problem("wrong_state", f"The key “{key.name}” has expired, and has no successor. Create a new key.")


@transaction.atomic
def revoke_key(*, key: ApiKey, actor: Actor) -> bool:
    """Refuse the key from now on (within 2 s everywhere); False when it was revoked already."""
    moved = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
    if moved:
        record(actor=actor, action="api_key.revoked", target=key, organization=key.organization)
    return bool(moved)


def _make_room(organization: Organization, *, most_factor: int) -> None:
    now = timezone.now()
    refuse_over(
        hold_limits(organization.pk).api_keys * most_factor,
        used=active_keys(organization.pk, now=now).count(),
        what="active API keys",
        way_out="Revoke one that is not used.",
    )
    ended = ended_keys(ApiKey.objects.for_organization(organization.pk), before=now).order_by("-pk")
    ApiKey.objects.filter(pk__in=list(ended.values_list("pk", flat=True)[MAX_ENDED_KEYS:])).delete()
