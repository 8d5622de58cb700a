"""Below which id each organization needs nothing any more."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings

from core.event_ids import lowest_id
from delivery.operations.retention import open_events
from ingestion.operations.retention import waiting_events
from organizations.operations.retention import kept_days


@dataclass(frozen=True, kw_only=True)
class Floors:
    """Organization → its floor: events and what belongs to them may go when their ids are lower.

    `ages` are by the period alone, `events` are lowered to what open work needs, `deliveries` are those of deliveries
    and attempts.
    """

    now: datetime
    days: Mapping[UUID, int]
    ages: Mapping[UUID, UUID]
    events: Mapping[UUID, UUID]
    deliveries: Mapping[UUID, UUID]

    @property
    def longest(self) -> int:
        return max(self.days.values(), default=0)

    def delivery_days(self, organization_id: UUID) -> int:
        return _delivery_days(self.days[organization_id])

    @property
    def longest_of_deliveries(self) -> int:
        return _delivery_days(self.longest)

    def kept_until(self) -> dict[UUID, datetime]:
        """The time before which an organization has no events."""
        return {pk: self.now - timedelta(days=days) for pk, days in self.days.items()}


def find_floors(*, now: datetime) -> Floors:
    """As the periods and the open work are at this moment."""
    days = kept_days()
    ages = {pk: _floor(now, each) for pk, each in days.items()}
    events = dict(ages)
    if days:
        needed = [open_events(ages), waiting_events(before=now - timedelta(days=min(days.values())))]
        for work in needed:
            for pk, event_id in work.items():
                if pk in events:
                    events[pk] = min(events[pk], event_id)
    # Attempts and closed deliveries are no open work; deliveries leave no earlier than their events unless told so.
    shorter = settings.DELIVERY_RETENTION_DAYS
    deliveries = {pk: max(events[pk], _floor(now, _delivery_days(days[pk]))) if shorter else events[pk] for pk in days}
    return Floors(now=now, days=days, ages=ages, events=events, deliveries=deliveries)


def _delivery_days(days: int) -> int:
    return min(days, settings.DELIVERY_RETENTION_DAYS or days)


def _floor(now: datetime, days: int) -> UUID:
    return lowest_id(now - timedelta(days=days))
