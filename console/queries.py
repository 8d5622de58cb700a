"""What the console's pages read. Every query starts from the organizations that the person may see."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import QuerySet

from ingestion.models import Event
from organizations.models import Organization

PAGE_SIZE = 50
# Each organization of a member is one arm of a UNION; staff see everything without one.
MAX_ORGANIZATIONS = 50
# A choice of more names is no use in a menu; `?organization=<id>` reaches every one.
MAX_LISTED_ORGANIZATIONS = 200


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """Which events a page shows: `type` exactly, or by its start when it ends in `*`; ids below `before`."""

    organization: Organization | None = None
    type: str = ""
    before: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """At most PAGE_SIZE events, newest first; `next_before` is the next page's `before`."""

    events: list[Event]
    next_before: UUID | None


def visible_organizations(user: User) -> QuerySet[Organization]:
    """All of them for staff, one's own for members."""
    organizations = Organization.objects.order_by("name")
    return organizations if user.is_staff else organizations.filter(memberships__user=user)


def list_events(*, user: User, wanted: EventFilter) -> EventPage:
    """The newest events that `user` may see; a type is only searched within one organization or one's own."""
    if wanted.organization is not None:
        rows = _matching(Event.objects.for_organization(wanted.organization.pk), wanted)
    elif user.is_staff:
        rows = _matching(Event.objects.all(), wanted)
    else:
        rows = _of_members(user, wanted)
    found = list(rows)
    more = len(found) > PAGE_SIZE
    found = found[:PAGE_SIZE]
    _attach_organizations(found)
    return EventPage(events=found, next_before=found[-1].pk if more else None)


def find_event(*, user: User, event_id: UUID) -> Any | None:
    """The event with its status; None when there is none that `user` may see."""
    events = Event.objects.filter(pk=event_id)
    if not user.is_staff:
        events = events.filter(organization__in=visible_organizations(user))
    return events.with_status().select_related("organization").first()


def _matching(events: Any, wanted: EventFilter) -> Any:
    """One page and a row more, by an index on (organization, id) or (organization, type, id)."""
    if wanted.type:
        events = events.of_type(wanted.type)
    if wanted.before is not None:
        events = events.filter(pk__lt=wanted.before)
    return events.with_status().defer("data").order_by("-id")[: PAGE_SIZE + 1]


def _of_members(user: User, wanted: EventFilter) -> Any:
    """A UNION of each organization's newest: `organization_id IN (…)` would walk everybody's events."""
    ids = visible_organizations(user).values_list("pk", flat=True)[:MAX_ORGANIZATIONS]
    arms = [_matching(Event.objects.for_organization(pk), wanted) for pk in ids]
    if len(arms) < 2:
        return arms[0] if arms else Event.objects.none()
    return arms[0].union(*arms[1:], all=True).order_by("-id")[: PAGE_SIZE + 1]


def _attach_organizations(events: list[Event]) -> None:
    """One look-up for the page; a join would be planned into every arm of a UNION."""
    found = Organization.objects.in_bulk({event.organization_id for event in events})
    for event in events:
        event.organization = found[event.organization_id]
