"""How much of its limits an organization uses, from counts that are kept anyway."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from console.stats import ACCEPTED, DUPLICATE, RANGES, Intake, intake_of
from delivery.models import Subscription
from delivery.operations.subscriptions import MAX_SUBSCRIPTIONS
from ingestion.models import EventType, Validation
from ingestion.operations.event_types import MAX_SCHEMAS
from organizations.models import Organization

# A meter that is this full is worth a warning.
_HIGH_PERCENT = 80

# A day is 1 440 minutes of few outcomes each, by the index of organization and minute: see console.stats.
_PEAK = """
SELECT minute, sum(count)::bigint AS number FROM ingestion_intakecount
WHERE organization_id = %(organization)s AND (organization_id, minute) >= (%(organization)s, %(start)s)
    AND outcome = ANY(%(outcomes)s)
GROUP BY minute ORDER BY number DESC, minute DESC LIMIT 1
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
class Usage:
    """`peak_at` is the minute of the most events in the last 24 hours."""

    day: Intake
    month: Intake
    meters: list[Meter]
    peak: int
    peak_at: datetime | None

    @property
    def refused(self) -> int:
        """Events of the last 24 hours that were over the limit."""
        return dict(self.day.rejections).get("rate_limited", 0)


def usage_of(organization: Organization, *, now: datetime) -> Usage:
    peak_at, peak = _peak_of(organization, now)
    limits = organization.limits
    subscriptions = Subscription.objects.for_organization(organization.pk).shown().count()
    schemas = EventType.objects.for_organization(organization.pk).exclude(validation=Validation.OFF).count()
    return Usage(
        day=intake_of(organization, RANGES["24h"], now=now),
        month=intake_of(organization, RANGES["30d"], now=now),
        peak=peak,
        peak_at=peak_at,
        meters=[
            Meter(
                label="Events in the busiest minute of the last 24 hours",
                used=peak,
                limit=limits.events_per_minute,
                note="The limit counts events a minute; more are refused with 429.",
            ),
            Meter(label="Subscriptions", used=subscriptions, limit=MAX_SUBSCRIPTIONS),
            Meter(label="Schemas in force", used=schemas, limit=MAX_SCHEMAS),
        ],
    )


def _peak_of(organization: Organization, now: datetime) -> tuple[datetime | None, int]:
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"organization": organization.pk, "start": now - timedelta(hours=24)}
        values["outcomes"] = [ACCEPTED, DUPLICATE]
        cursor.execute(_PEAK, values)
        row = cursor.fetchone()
    return (row[0], int(row[1])) if row else (None, 0)
