"""Issue, rotate and revoke API keys."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from organizations.audit import Actor, record
from organizations.key_format import generate_key, hash_key, public_id
from organizations.limits import hold_limits, refuse_over
from organizations.models import ApiKey, Organization
from organizations.operations.retention import ended_keys
from organizations.scopes import Scope
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
        changes={"scopes": wanted},
    )
    return IssuedKey(key=key, plaintext=plaintext)


@transaction.atomic
def rotate_key(*, key: ApiKey, overlap: timedelta, actor: Actor) -> IssuedKey | None:
    """A successor with the same name and scopes; the old key ends after `overlap`. None when it was revoked."""
    ends = timezone.now() + overlap
    moved = ApiKey.objects.filter(pk=key.pk, revoked_at=None).exclude(expires_at__lt=ends).update(expires_at=ends)
    if not moved and not ApiKey.objects.filter(pk=key.pk, revoked_at=None).exists():
        return None
    record(actor=actor, action="api_key.rotated", target=key, organization=key.organization,
           changes={"overlap_seconds": int(overlap.total_seconds())})  # fmt: skip
    return issue_key(organization=key.organization, name=key.name, scopes=key.scopes, actor=actor, is_successor=True)


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
