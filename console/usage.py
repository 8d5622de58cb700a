"""How much of its limits an organization uses, from counts that are kept anyway."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from console.stats import ACCEPTED, DUPLICATE, RANGES, Intake, intake_of, outcomes_since
from delivery.models import Subscription
from delivery.operations.subscriptions import MAX_SUBSCRIPTIONS
from ingestion.models import EventType, Validation
from ingestion.operations.event_types import MAX_SCHEMAS
from organizations.models import Organization

# A meter that is this full is worth a warning.
_HIGH_PERCENT = 80

# By the index of organization and minute: see console.stats. Of two minutes that are as busy, the later one.
_PEAK = """
SELECT sum(count)::bigint, minute FROM ingestion_intakecount
WHERE organization_id = %(organization)s AND (organization_id, minute) >= (%(organization)s, %(start)s)
    AND outcome IN ('accepted', 'duplicate')
GROUP BY minute ORDER BY 1 DESC, 2 DESC LIMIT 1
"""


@dataclass(frozen=True, kw_only=True)
class Meter:
    """How much of a limit is used."""

    label: str
    used: int
    limit: int
    note: str = ""

    @property
    def shown(self) -> int:
        """For a bar, which ends at the limit."""
        return min(self.used, self.limit)

    @property
    def percent(self) -> int:
        return self.used * 100 // self.limit if self.limit else 100

    @property
    def is_high(self) -> bool:
        return self.percent >= _HIGH_PERCENT


@dataclass(frozen=True, kw_only=True)
class Day:
    """Events of the last 24 hours; `refused` were over the limit. `peak` came in the minute of `peak_at`."""

    accepted: int
    duplicate: int
    rejected: int
    refused: int
    peak: int
    peak_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Usage:
    day: Day
    month: Intake
    meters: list[Meter]


def usage_of(organization: Organization, *, now: datetime) -> Usage:
    day = _day_of(organization, now)
    subscriptions = Subscription.objects.for_organization(organization.pk).shown().count()
    schemas = EventType.objects.for_organization(organization.pk).exclude(validation=Validation.OFF).count()
    return Usage(
        day=day,
        month=intake_of(organization, RANGES["30d"], now=now),
        meters=[
            Meter(
                label="Events in the busiest minute of the last 24 hours",
                used=day.peak,
                limit=organization.limits.events_per_minute,
                note="The limit counts events a minute; more are refused with 429.",
            ),
            Meter(label="Subscriptions", used=subscriptions, limit=MAX_SUBSCRIPTIONS),
            Meter(label="Schemas in force", used=schemas, limit=MAX_SCHEMAS),
        ],
    )


def _day_of(organization: Organization, now: datetime) -> Day:
    start = now - timedelta(hours=24)
    outcomes = outcomes_since(organization.pk, start)
    accepted, duplicate = outcomes.get(ACCEPTED, 0), outcomes.get(DUPLICATE, 0)
    with connection.cursor() as cursor:
        cursor.execute(_PEAK, {"organization": organization.pk, "start": start})
        peak, peak_at = cursor.fetchone() or (0, None)
    return Day(
        accepted=accepted,
        duplicate=duplicate,
        rejected=sum(outcomes.values()) - accepted - duplicate,
        refused=outcomes.get("rate_limited", 0),
        peak=peak,
        peak_at=peak_at,
    )
