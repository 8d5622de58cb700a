"""How much of its limits an organization uses, from counts that are kept anyway."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from console.overview.queries import ACCEPTED, DUPLICATE, RANGES, Intake, intake_of, outcomes_since
from organizations.models import Organization
from organizations.usage import usage_of as counts_of

# A meter that is this full is worth a warning.
_HIGH_PERCENT = 80
_KIB, _MIB = 2**10, 2**20
# By the names of the limits: what people call it, in which unit, and what happens at the limit.
_METERS = {
    "subscriptions": ("Subscriptions", 1, "An event has at most one delivery for each."),
    "filter_bytes": ("KiB of event types and filters of all subscriptions", _KIB, ""),
    "api_keys": ("Active API keys", 1, ""),
    "event_types": (
        "Event types",
        1,
        "Events of further types are accepted and counted together. Types without a description are removed once no"
        " event has had them for a long time.",
    ),
    "schemas_in_force": ("Schemas in force", 1, ""),
    "members": ("Members", 1, ""),
    "replays_per_day": ("Replays started in 24 hours", 1, ""),
    "exports_per_day": ("Exports started in 24 hours", 1, ""),
    "export_bytes": ("MiB of export files, compressed", _MIB, "Each file is deleted after a day."),
}

# By the index of organization and minute: see console.overview.queries. Of two minutes that are as busy, the later one.
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
    limits = organization.limits
    busiest = Meter(
        label="Events in the busiest minute of the last 24 hours",
        used=day.peak,
        limit=limits.events_per_minute,
        note="The limit counts events a minute; more are refused with 429.",
    )
    used = counts_of(organization.pk, now=now)
    meters = [
        Meter(label=label, used=used[name] // unit, limit=getattr(limits, name) // unit, note=note)
        for name, (label, unit, note) in _METERS.items()
    ]
    return Usage(day=day, month=intake_of(organization, RANGES["30d"], now=now), meters=[busiest, *meters])


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
