"""What the overview reads: stats tables, and bounded looks at the newest rows. Never the events themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.cache import cache
from django.db import connection
from django.db.models import F

from console.deliveries.queries import COUNTED, dead_letters_by_subscription
from delivery.models import Subscription, SubscriptionStatus, is_open_until
from ingestion.models import hour_of
from organizations.models import Organization

ACCEPTED = "accepted"
DUPLICATE = "duplicate"
TOP_TYPES = 8
TROUBLED = 10
# An organization's subscriptions are few; what the sample below costs grows with them.
_SUBSCRIPTIONS = 50
_ATTEMPTS_EACH = 200
_FAILURES = 1_000
# The counts of a long range are some 5 000 rows: read once a minute at most.
_CACHE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Range:
    """A range of the overview, in bars of `step`, each of which is a link to the events of that time."""

    name: str
    label: str
    step: timedelta
    bars: int
    unit: str

    def start(self, now: datetime) -> datetime:
        """Of the first bar: bars begin at whole steps, and the last one contains `now`."""
        seconds = int(self.step.total_seconds())
        last = int(now.timestamp()) // seconds * seconds
        return datetime.fromtimestamp(last - seconds * (self.bars - 1), UTC)


RANGES = {
    found.name: found
    for found in (
        Range(name="1h", label="1 hour", step=timedelta(minutes=1), bars=60, unit="minute"),
        Range(name="24h", label="24 hours", step=timedelta(minutes=30), bars=48, unit="half hour"),
        Range(name="7d", label="7 days", step=timedelta(hours=3), bars=56, unit="3 hours"),
        Range(name="30d", label="30 days", step=timedelta(hours=12), bars=60, unit="half day"),
    )
}


@dataclass(kw_only=True)
class Bar:
    """What came in from `start` on, before `end`."""

    start: datetime
    end: datetime
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0

    @property
    def total(self) -> int:
        return self.accepted + self.duplicate + self.rejected


@dataclass(frozen=True, kw_only=True)
class Intake:
    """The bars of a range, and why events were rejected: `(code, count)`, most first."""

    bars: list[Bar]
    rejections: list[tuple[str, int]]

    @property
    def accepted(self) -> int:
        return sum(bar.accepted for bar in self.bars)

    @property
    def duplicate(self) -> int:
        return sum(bar.duplicate for bar in self.bars)

    @property
    def rejected(self) -> int:
        return sum(bar.rejected for bar in self.bars)

    @property
    def total(self) -> int:
        return self.accepted + self.duplicate + self.rejected


@dataclass(frozen=True, kw_only=True)
class Processed:
    """How many events were processed, and of which types most: `(type, count)`."""

    total: int
    types: list[tuple[str, int]]

    @property
    def most(self) -> int:
        return self.types[0][1] if self.types else 0


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """A sample: the newest attempts of each webhook within the range. Times are milliseconds."""

    tried: int = 0
    delivered: int = 0
    median_ms: int | None = None
    slow_ms: int | None = None

    @property
    def percent(self) -> str | None:
        """Rounded down, so that 100 % means all."""
        return None if not self.tried else f"{self.delivered * 1000 // self.tried / 10:g} %"


@dataclass(frozen=True, kw_only=True)
class Processing:
    """Events that could not be processed, counted up to 1 000, and for how many seconds the oldest unprocessed event
    of the whole platform has been waiting.
    """

    failed: int
    lag: float


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A subscription that does not deliver, or has not delivered something, and the reason in a few words.

    The dead letters are counted up to COUNTED.
    """

    subscription: Subscription
    reason: str
    dead_letters: int

    @property
    def has_more_dead_letters(self) -> bool:
        return self.dead_letters >= COUNTED


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """The webhooks (up to a bound), and the subscriptions in trouble."""

    ids: list[UUID] = field(default_factory=list)
    troubled: list[Trouble] = field(default_factory=list)


# The pair keeps PostgreSQL from the index of the minutes alone, whose rows lie close together, but are everybody's.
_INTAKE = """
SELECT date_bin(%(step)s, minute, %(start)s) AS bar, outcome, sum(count)::bigint
FROM ingestion_intakecount
WHERE organization_id = %(organization)s AND (organization_id, minute) >= (%(organization)s, %(start)s)
GROUP BY 1, 2
"""
_OUTCOMES = """
SELECT outcome, sum(count)::bigint FROM ingestion_intakecount
WHERE organization_id = %(organization)s AND (organization_id, minute) >= (%(organization)s, %(start)s)
GROUP BY outcome
"""
_TYPES = """
SELECT type, sum(count)::bigint, (sum(sum(count)) OVER ())::bigint
FROM ingestion_hourlystat
WHERE organization_id = %(organization)s AND hour >= %(start)s
GROUP BY type ORDER BY 2 DESC, type LIMIT %(limit)s
"""
_PROCESSING = """
SELECT
    (
        SELECT count(*) FROM (
            SELECT FROM ingestion_processingfailure WHERE organization_id = %(organization)s LIMIT %(most)s
        ) AS failed
    ),
    (SELECT min(created_at) FROM ingestion_outboxentry)
"""
# The time is no condition of the inner query: PostgreSQL would take it for a rare one, and sort all that it finds.
_ATTEMPTS = """
WITH sample AS (
    SELECT newest.error, newest.duration_ms
    FROM unnest(%(subscriptions)s::uuid[]) AS wanted (id)
    CROSS JOIN LATERAL (
        (SELECT error, duration_ms, started_at FROM delivery_attempt
         WHERE subscription_id = wanted.id AND organization_id = %(organization)s
         ORDER BY id DESC LIMIT %(each)s)
        UNION ALL
        SELECT '', first_duration_ms, delivered_at FROM (
            SELECT first_duration_ms, delivered_at FROM delivery_delivery
            WHERE subscription_id = wanted.id AND status = 'delivered' AND organization_id = %(organization)s
            ORDER BY id DESC LIMIT %(each)s
        ) AS delivered WHERE first_duration_ms IS NOT NULL
        ORDER BY started_at DESC LIMIT %(each)s
    ) AS newest
    WHERE newest.started_at >= %(first)s
)
SELECT count(*), count(*) FILTER (WHERE error = ''),
    percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms),
    percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms)
FROM sample
"""


def intake_of(organization: Organization, chosen: Range, *, now: datetime) -> Intake:
    """What the organization sent, by the minute counts of the servers."""
    start = chosen.start(now)
    bars = [
        Bar(start=start + number * chosen.step, end=start + (number + 1) * chosen.step) for number in range(chosen.bars)
    ]
    rejections: dict[str, int] = {}
    for number, outcome, count in _intake_rows(organization, chosen, start):
        if number >= chosen.bars:
            continue
        bar = bars[number]
        if outcome == ACCEPTED:
            bar.accepted += count
        elif outcome == DUPLICATE:
            bar.duplicate += count
        else:
            bar.rejected += count
            rejections[outcome] = rejections.get(outcome, 0) + count
    return Intake(bars=bars, rejections=sorted(rejections.items(), key=lambda item: -item[1]))


def processed_of(organization: Organization, chosen: Range, *, now: datetime) -> Processed:
    """What was processed, by the hourly stats: the first hour counts as a whole."""
    values: dict[str, Any] = {"organization": organization.pk, "start": hour_of(chosen.start(now)), "limit": TOP_TYPES}
    with connection.cursor() as cursor:
        cursor.execute(_TYPES, values)
        rows = cursor.fetchall()
    return Processed(total=rows[0][2] if rows else 0, types=[(name, count) for name, count, _ in rows])


def endpoints_of(organization: Organization, *, now: datetime) -> Endpoints:
    """The subscriptions, those that fail first."""
    shown = Subscription.objects.for_organization(organization.pk).not_deleted().light()
    rows = list(shown.order_by(F("failing_since").asc(nulls_last=True), "-failures", "pk")[:_SUBSCRIPTIONS])
    dead = dead_letters_by_subscription([row.pk for row in rows])
    troubled = [
        Trouble(subscription=row, reason=reason, dead_letters=dead[row.pk])
        for row in rows
        if (reason := _trouble(row, now)) or dead[row.pk]
    ]
    return Endpoints(ids=[row.pk for row in rows if row.rules.is_sent], troubled=troubled[:TROUBLED])


def attempts_of(organization: Organization, subscriptions: Sequence[UUID], chosen: Range, *, now: datetime) -> Attempts:
    """How the newest attempts of these webhooks went."""
    if not subscriptions:
        return Attempts()
    values: dict[str, Any] = {
        "subscriptions": [str(pk) for pk in subscriptions],
        "organization": organization.pk,
        "first": chosen.start(now),
        "each": _ATTEMPTS_EACH,
    }
    with connection.cursor() as cursor:
        cursor.execute(_ATTEMPTS, values)
        tried, delivered, median, slow = cursor.fetchone()
    return Attempts(tried=tried, delivered=delivered, median_ms=median, slow_ms=slow)


def processing_of(organization: Organization, *, now: datetime) -> Processing:
    """In one statement: the page has a dozen."""
    with connection.cursor() as cursor:
        cursor.execute(_PROCESSING, {"organization": organization.pk, "most": _FAILURES})
        failed, oldest = cursor.fetchone()
    return Processing(failed=failed, lag=0.0 if oldest is None else (now - oldest).total_seconds())


def outcomes_since(organization_id: UUID, start: datetime) -> dict[str, int]:
    """How often the organization's events came to each outcome (see IntakeCount)."""
    with connection.cursor() as cursor:
        cursor.execute(_OUTCOMES, {"organization": organization_id, "start": start})
        return dict(cursor.fetchall())


def rejected_lately(organization_id: UUID, *, now: datetime) -> list[tuple[str, int]]:
    """What was rejected in this minute and the four before it: `(code, count)`."""
    outcomes = outcomes_since(organization_id, now - timedelta(minutes=5))
    rejected = [(outcome, count) for outcome, count in outcomes.items() if outcome not in {ACCEPTED, DUPLICATE}]
    return sorted(rejected, key=lambda row: -row[1])


def _intake_rows(organization: Organization, chosen: Range, start: datetime) -> list[tuple[int, str, int]]:
    """`(number of the bar, outcome, count)`; kept for a minute when the range is long."""
    key = f"console:intake:{organization.pk}:{chosen.name}:{int(start.timestamp())}"
    is_long = chosen.step > timedelta(hours=1)
    if is_long and (kept := cache.get(key)) is not None:
        return list(kept)
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"organization": organization.pk, "start": start, "step": chosen.step}
        cursor.execute(_INTAKE, values)
        rows = [((begin - start) // chosen.step, outcome, count) for begin, outcome, count in cursor]
    if is_long:
        cache.set(key, rows, _CACHE_SECONDS)
    return rows


def _trouble(subscription: Subscription, now: datetime) -> str:
    """Empty when it delivers."""
    if subscription.status == SubscriptionStatus.DISABLED:
        return f"Disabled: {subscription.get_disabled_reason_display() or 'by the platform'}"
    if is_open_until(subscription.circuit_open_until, now):
        return f"Resting after {subscription.failures} failures in a row"
    if subscription.failing_since:
        return f"{subscription.failures} failure{'' if subscription.failures == 1 else 's'} in a row"
    return "Paused: its deliveries are held" if subscription.status == SubscriptionStatus.PAUSED else ""
