"""Which events a list shows."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import models

from ingestion.event_ids import lowest_id
from ingestion.models import Event, EventQuerySet, EventStatus, OutboxEntry, ProcessingFailure


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
    if wanted.type and wanted.type.endswith("*"):
        events = events.filter(type__startswith=wanted.type[:-1])
    elif wanted.type:
        events = events.filter(type=wanted.type)
    if wanted.source:
        events = events.filter(source=wanted.source)
    if wanted.subject:
        events = events.filter(subject=wanted.subject)
    if wanted.received_after:
        events = events.filter(id__gte=lowest_id(wanted.received_after), received_at__gte=wanted.received_after)
    if wanted.received_before:
        events = events.filter(received_at__lt=wanted.received_before)
    return _of_status(events, wanted.status).with_status()


def _of_status(events: EventQuerySet, status: EventStatus | None) -> EventQuerySet:
    waiting = models.Exists(OutboxEntry.objects.filter(pk=models.OuterRef("batch_id")))
    failed = models.Exists(ProcessingFailure.objects.filter(event_id=models.OuterRef("pk")))
    if status == EventStatus.ACCEPTED:
        return events.filter(waiting)
    if status == EventStatus.FAILED:
        return events.filter(failed)
    if status == EventStatus.PROCESSED:
        return events.filter(~waiting, ~failed)
    return events
