"""How much of its limits an organization uses, from counts that are kept anyway."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from console.stats import RANGES, Intake, intake_of
from delivery.models import Subscription
from delivery.operations.subscriptions import MAX_SUBSCRIPTIONS
from ingestion.models import EventType, Validation
from ingestion.operations.event_types import MAX_SCHEMAS
from organizations.models import Organization

# A meter that is this full is worth a warning.
_HIGH_PERCENT = 80

# 1 440 minutes of few outcomes each, by the index of organization and minute: see console.stats. The peak is the
# busiest minute, the later one of two.
_DAY = """
SELECT coalesce(sum(accepted), 0)::bigint, coalesce(sum(duplicate), 0)::bigint, coalesce(sum(rejected), 0)::bigint,
    coalesce(sum(refused), 0)::bigint, coalesce(max(accepted + duplicate), 0)::bigint,
    (array_agg(minute ORDER BY accepted + duplicate DESC, minute DESC))[1]
FROM (
    SELECT minute,
        coalesce(sum(count) FILTER (WHERE outcome = 'accepted'), 0) AS accepted,
        coalesce(sum(count) FILTER (WHERE outcome = 'duplicate'), 0) AS duplicate,
        coalesce(sum(count) FILTER (WHERE outcome NOT IN ('accepted', 'duplicate')), 0) AS rejected,
        coalesce(sum(count) FILTER (WHERE outcome = 'rate_limited'), 0) AS refused
    FROM ingestion_intakecount
    WHERE organization_id = %(organization)s AND (organization_id, minute) >= (%(organization)s, %(start)s)
    GROUP BY minute
) AS minutes
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
    values: dict[str, Any] = {"organization": organization.pk, "start": now - timedelta(hours=24)}
    with connection.cursor() as cursor:
        cursor.execute(_DAY, values)
        accepted, duplicate, rejected, refused, peak, peak_at = cursor.fetchone()
    return Day(
        accepted=accepted,
        duplicate=duplicate,
        rejected=rejected,
        refused=refused,
        peak=peak,
        peak_at=peak_at if peak else None,
    )
