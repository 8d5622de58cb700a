"""The audit log: who did what to which organization, member or key."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Self, cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import User
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone

from core.event_ids import lowest_id
from core.problems import Problem
from organizations.models import AuditEntry, Organization
from rest.doors.client_address import client_address

AGENT_LENGTH = 200


class ActorKind(StrEnum):
    USER = "user"
    API_KEY = "api_key"
    PORTAL = "portal"
    SYSTEM = "system"


# Whose changes are counted, and together: a flood of programs does not lock people out. The platform's own are not.
_COUNTED = {
    "API keys and portals": (ActorKind.API_KEY, ActorKind.PORTAL),
    "People": (ActorKind.USER,),
}
# What takes rights away, or needs something that was made before, and counted.
_NEVER_REFUSED = {"api_key.revoked", "invitation.accepted", "invitation.withdrawn", "member.removed"}


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who acts: a person, an API key, somebody in the portal or the platform.

    `address` and `user_agent` are those of the request. Staff are nobody whom an organization lets in.
    """

    kind: str
    label: str
    address: str | None = None
    user_agent: str = ""
    is_staff: bool = False

    @classmethod
    def person(cls, user: AbstractBaseUser, request: HttpRequest) -> Self:
        """`user`, by this request."""
        return cls(
            kind=ActorKind.USER,
            label=user.get_username(),
            address=client_address(request),
            user_agent=agent_of(request),
            is_staff=cast(User, user).is_staff,
        )

    @classmethod
    def system(cls, label: str) -> Self:
        return cls(kind=ActorKind.SYSTEM, label=label)


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person of a page."""
    return Actor.person(cast(User, request.user), request)


def agent_of(request: HttpRequest) -> str:
    """What the client calls itself, as one line that can be stored: its header is anyone's text."""
    text = request.META.get("HTTP_USER_AGENT", "").replace("\x00", "").encode(errors="replace").decode()
    return " ".join(text.split())[:AGENT_LENGTH]


def record(
    *,
    actor: Actor,
    action: str,
    target: Model,
    organization: Organization | None,
    changes: dict[str, Any] | None = None,
) -> None:
    """Add an entry; call it inside the transaction of the change. Never pass secrets in `changes`.

    `organization` is None for what concerns no single one, such as a person's account. Raises Problem 429 when too much
    is changed: a loop would fill the log. A key can always be revoked, a member removed, and staff help.
    """
    if organization is not None and not actor.is_staff and action not in _NEVER_REFUSED:
        _refuse_flood(organization, actor)
    AuditEntry.objects.create(
        organization=organization,
        actor_kind=actor.kind,
        actor_label=actor.label[:200],
        action=action,
        target_kind=target._meta.model_name or "",
        target_id=str(target.pk),
        target_label=str(target)[:250],
        changes=changes or {},
        address=actor.address,
        user_agent=actor.user_agent,
    )


def _refuse_flood(organization: Organization, actor: Actor) -> None:
    who = next((who for who, kinds in _COUNTED.items() if actor.kind in kinds), None)
    if who is None:
        return
    most = organization.limits.changes_per_hour
    # An id begins with its time: nothing older is read.
    entries = AuditEntry.objects.for_organization(organization.pk).filter(
        pk__gte=lowest_id(timezone.now() - timedelta(hours=1)), actor_kind__in=_COUNTED[who]
    )
    if entries.order_by("-pk")[most - 1 : most].exists():
        raise Problem(
            "rate_limited",
            f"{who} can make {most} changes an hour in an organization. Is a program caught in a loop?",
            headers={"Retry-After": "60"},
        )
