"""Which events a list shows."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.event_ids import lowest_id
from ingestion.models import Event, EventQuerySet, EventStatus


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """`type` may end in `*`; `received_after` is inclusive, `received_before` exclusive."""

    type: str | None = None
    source: str | None = None
    subject: str | None = None
    received_after: datetime | None = None
    received_before: datetime | None = None
    status: EventStatus | None = None


def select_events(organization_id: UUID, wanted: EventFilter) -> EventQuerySet:
    """The organization's events that fit, with their status. Time bounds are bounds of the id: they prune."""
    events = Event.objects.for_organization(organization_id)
    if wanted.type:
        events = events.of_type(wanted.type)
    if wanted.source:
        events = events.filter(source=wanted.source)
    if wanted.subject:
        events = events.filter(subject=wanted.subject)
    if wanted.received_after:
        events = events.filter(id__gte=lowest_id(wanted.received_after), received_at__gte=wanted.received_after)
    if wanted.received_before:
        events = events.filter(received_at__lt=wanted.received_before)
    if wanted.status:
        events = events.of_status(wanted.status)
    return events.with_status()
