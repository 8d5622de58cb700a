"""Make links into the portal, open them, end them."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from core.field_errors import FieldError, pointer_to
from core.problems import Problem, invalid
from delivery.endpoints.option_rules import check_tags
from delivery.matching.filters import compile_filter
from delivery.models import Subscription, SubscriptionQuerySet
from organizations.audit import Actor, ActorKind, record
from organizations.limits import hold_limits, refuse_over
from organizations.models import ApiKey, Organization, TenantQuerySet
from portal.models import PortalLink

MAX_SECONDS = 24 * 3600
# Rows of one organization that have not expired; it makes `changes_per_hour` of them at most.
MAX_LINKS = 10_000
# For so long after its end a link says why it does not work.
KEPT = timedelta(days=1)
# By EXISTS, not by a join: with one, two that open a link at the same time would both get in.
_GOOD = Q(ended_at=None) & ~Q(Exists(ApiKey.objects.filter(pk=OuterRef("api_key_id"), revoked_at__isnull=False)))


@dataclass(frozen=True, kw_only=True)
class LinkRequest:
    """What a link shall reach: the subscriptions with `tag`, or those of `subscription_ids`; exactly one is given.

    `filter` is what subscriptions that are made in the portal take of the organization's events.
    """

    tag: str = ""
    subscription_ids: Sequence[UUID] = ()
    may_manage: bool = False
    filter: Mapping[str, Any] | None = None
    lifetime: timedelta


def create_link(
    *, organization: Organization, wanted: LinkRequest, key_id: UUID, actor: Actor, now: datetime
) -> tuple[PortalLink, str]:
    """The link with its token, which is told this once. Raises Problem 409 (limit_reached) or 422."""
    _check(organization, wanted)
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        hold_limits(organization.pk)
        used = live_links(organization, now=now).count()
        refuse_over(MAX_LINKS, used=used, what="portal links and sessions", way_out="Wait until some have expired.")
        link = PortalLink.objects.create(
            organization=organization,
            api_key_id=key_id,
            tag=wanted.tag,
            subscription_ids=list(wanted.subscription_ids),
            may_manage=wanted.may_manage,
            filter=wanted.filter,
            token_hash=_hash(token),
            created_at=now,
            expires_at=now + wanted.lifetime,
        )
        permissions = ["read", "manage"] if wanted.may_manage else ["read"]
        changes = {"permissions": permissions, "expires_in": int(wanted.lifetime.total_seconds())}
        record(actor=actor, action="portal_link.created", target=link, organization=organization, changes=changes)
    return link, token


@transaction.atomic
def open_link(*, token: str, actor: Actor, now: datetime) -> tuple[PortalLink, str | None] | None:
    """The link with the token of its new session; None in its place when it was used, has expired or was ended.

    None for what is no link. Of several that open one at the same time, one gets in.
    """
    session = secrets.token_urlsafe(32)
    rows = PortalLink.objects.filter(token_hash=_hash(token))
    moved = rows.filter(_GOOD, used_at=None, expires_at__gt=now).update(used_at=now, session_hash=_hash(session))
    link = rows.select_related("organization__portal_appearance").first()
    if link is None:
        return None
    if moved:
        record(
            actor=portal_actor(link, actor), action="portal_link.opened", target=link, organization=link.organization
        )
    return link, session if moved else None


def find_session(token: str) -> PortalLink | None:
    """The link that opened the session, whether that has ended or not."""
    rows = PortalLink.objects.select_related("organization__portal_appearance", "api_key")
    return rows.filter(session_hash=_hash(token)).first() if token else None


def is_over(link: PortalLink, *, now: datetime) -> bool:
    """Whether its session has expired, or somebody ended it."""
    return link.expires_at <= now or link.ended_at is not None or link.api_key.revoked_at is not None


def state_of(link: PortalLink, *, now: datetime) -> str:
    """For staff, in words."""
    if link.api_key.revoked_at is not None:
        return "ended with its API key"
    if link.ended_at is not None:
        return "ended"
    if link.expires_at <= now:
        return "expired"
    return "session open" if link.used_at else "not opened yet"


def end_session(*, link: PortalLink, now: datetime) -> None:
    PortalLink.objects.filter(pk=link.pk, ended_at=None).update(ended_at=now)


@transaction.atomic
def end_all(*, organization: Organization, actor: Actor, now: datetime) -> int:
    """Every link and session of the organization ends at once; returns how many."""
    ended = live_links(organization, now=now).update(ended_at=now)
    if ended:
        record(actor=actor, action="portal_link.all_ended", target=organization, organization=organization,
               changes={"number": ended})  # fmt: skip
    return ended


def live_links(organization: Organization, *, now: datetime) -> TenantQuerySet[PortalLink]:
    """Those that can still be opened, and those whose session goes on."""
    return PortalLink.objects.for_organization(organization.pk).filter(_GOOD, expires_at__gt=now)


def old_links(*, before: datetime) -> TenantQuerySet[PortalLink]:
    """Those that had expired by then, the oldest first."""
    return PortalLink.objects.filter(expires_at__lt=before).order_by("expires_at")


def subscriptions_of(link: PortalLink) -> SubscriptionQuerySet:
    """What its portal shows: the one place that separates the customers of an organization."""
    rows = Subscription.objects.for_organization(link.organization.pk).not_deleted()
    if link.tag:
        return rows.filter(tags__contains=[link.tag])
    return rows.filter(pk__in=link.subscription_ids)


def portal_actor(link: PortalLink, visitor: Actor) -> Actor:
    """Who acts in the portal, for the audit log: nobody that the platform knows by name."""
    return Actor(
        kind=ActorKind.PORTAL, label=f"portal: {link.reach}", address=visitor.address, user_agent=visitor.user_agent
    )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _check(organization: Organization, wanted: LinkRequest) -> None:
    if bool(wanted.tag) == bool(wanted.subscription_ids):
        raise invalid("/tag", "required", "Give either a tag or subscriptions.")
    if wanted.tag:
        _check_tag(wanted.tag)
    if wanted.filter is not None:
        compile_filter(wanted.filter)
    own = Subscription.objects.for_organization(organization.pk).not_deleted()
    known = set(own.filter(pk__in=wanted.subscription_ids).values_list("pk", flat=True))
    errors = [
        FieldError(pointer=pointer_to("subscriptions", index), code="unknown", detail="There is no such subscription.")
        for index, pk in enumerate(wanted.subscription_ids)
        if pk not in known
    ]
    if errors:
        raise Problem("validation_failed", errors=errors)


def _check_tag(tag: str) -> None:
    try:
        check_tags([tag])
    except Problem as problem:
        raise invalid("/tag", "invalid", problem.errors[0].detail) from problem
