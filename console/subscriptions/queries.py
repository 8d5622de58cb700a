"""How subscriptions are doing, at a glance: bounded looks at the ends of indexes, however many deliveries there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from console.deliveries.queries import COUNTED
from console.drawing.sparklines import Sparkline, sparkline
from delivery.models import Subscription, SubscriptionStatus, is_open_until
from organizations.models import Organization

HOURS = 24
# Of each webhook; a page of 25 reads 12 500 entries of an index at most, and says so when there were more.
ATTEMPTS_EACH = 500
RESTING = "resting"

# The time is no condition of the inner queries: PostgreSQL would take it for a rare one, and sort a day's attempts. Nor
# is it that the delivery holds the attempt, or PostgreSQL would pass over all that do not.
_ATTEMPTS = """
SELECT wanted.id, date_bin('1 hour', newest.started_at, %(now)s) AS begin,
    count(*) FILTER (WHERE newest.error = ''), count(*) FILTER (WHERE newest.error <> '')
FROM unnest(%(subscriptions)s::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    (SELECT error, started_at FROM delivery_attempt
     WHERE subscription_id = wanted.id AND organization_id = %(organization)s
     ORDER BY id DESC LIMIT %(each)s)
    UNION ALL
    SELECT '', delivered_at FROM (
        SELECT first_duration_ms, delivered_at FROM delivery_delivery
        WHERE subscription_id = wanted.id AND status = 'delivered' AND organization_id = %(organization)s
        ORDER BY id DESC LIMIT %(each)s
    ) AS delivered WHERE first_duration_ms IS NOT NULL
    ORDER BY started_at DESC LIMIT %(each)s
) AS newest
WHERE newest.started_at >= %(first)s
GROUP BY 1, 2
"""
# The ids are an organization's own. To compare the organization, too, would read every row that is counted.
_WAITING = """
SELECT wanted.id, due.next_attempt_at, waiting.number, dead.number
FROM unnest(%(subscriptions)s::uuid[]) AS wanted (id)
LEFT JOIN LATERAL (
    SELECT next_attempt_at FROM delivery_delivery
    WHERE subscription_id = wanted.id AND next_attempt_at IS NOT NULL
    ORDER BY next_attempt_at, id LIMIT 1
) AS due ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS number FROM (
        SELECT FROM delivery_delivery
        WHERE subscription_id = wanted.id AND next_attempt_at IS NOT NULL
        LIMIT %(counted)s
    ) AS counted
) AS waiting
CROSS JOIN LATERAL (
    SELECT count(*) AS number FROM (
        SELECT FROM delivery_delivery
        WHERE subscription_id = wanted.id AND status = 'dead_letter'
        LIMIT %(counted)s
    ) AS counted
) AS dead
"""


@dataclass(frozen=True, kw_only=True)
class Health:
    """`waiting` and `dead_letters` are counted up to COUNTED; `next_at` is when the first of those waiting is due.

    `state` and `tone` say it in a word: healthy, failing, resting, paused, disabled, active, idle. While the endpoint
    rests, `next_at` is when it is probed next.
    """

    subscription: Subscription
    state: str
    tone: str
    spark: Sparkline | None
    tried: int
    failed: int
    waiting: int
    dead_letters: int
    next_at: datetime | None
    is_due: bool

    @property
    def percent(self) -> str | None:
        """Of the attempts that succeeded; rounded down, so that 100 % means all."""
        return None if not self.tried else f"{(self.tried - self.failed) * 1000 // self.tried / 10:g} %"

    @property
    def has_more_waiting(self) -> bool:
        return self.waiting >= COUNTED

    @property
    def has_more_dead_letters(self) -> bool:
        return self.dead_letters >= COUNTED


def health_of(organization: Organization, subscriptions: Sequence[Subscription], *, now: datetime) -> list[Health]:
    """In the order of `subscriptions`, by two queries."""
    sent = [row.pk for row in subscriptions if row.rules.is_sent]
    attempts = _attempts_of(organization, sent, now)
    waiting = _waiting_of(organization, [row.pk for row in subscriptions])
    return [_health(row, attempts.get(row.pk), waiting[row.pk], now) for row in subscriptions]


def next_probe(row: Subscription, *, now: datetime) -> datetime | None:
    """When an endpoint that rests is tried next, in the middle of its rest or at the end. None when it does not rest.

    A time that has just passed is that of a probe under way.
    """
    if not is_open_until(row.circuit_open_until, now):
        return None
    return row.circuit_probe_at if is_open_until(row.circuit_probe_at, now) else row.circuit_open_until


def _health(
    row: Subscription, columns: list[tuple[int, int]] | None, waiting: tuple[datetime | None, int, int], now: datetime
) -> Health:
    next_at, open_deliveries, dead = waiting
    if next_at is not None and is_open_until(row.circuit_open_until, now):
        next_at = next_probe(row, now=now)
    tried = sum(good + bad for good, bad in columns or [])
    failed = sum(bad for _, bad in columns or [])
    state, tone = _state(row, tried, now)
    label = f"{tried - failed} delivered, {failed} failed attempts in the last {HOURS} hours"
    if tried >= ATTEMPTS_EACH:
        label = f"Of the newest {tried} attempts: {tried - failed} delivered, {failed} failed"
    return Health(
        subscription=row,
        state=state,
        tone=tone,
        spark=None if columns is None else sparkline(columns, label),
        tried=tried,
        failed=failed,
        waiting=open_deliveries,
        dead_letters=dead,
        next_at=next_at,
        is_due=next_at is not None and next_at <= now,
    )


def _state(row: Subscription, tried: int, now: datetime) -> tuple[str, str]:
    if row.status != SubscriptionStatus.ACTIVE:
        return row.status, "bad" if row.status == SubscriptionStatus.DISABLED else "warn"
    if is_open_until(row.circuit_open_until, now):
        return RESTING, "bad"
    if row.failing_since:
        return "failing", "bad"
    if not row.rules.is_sent:
        return "active", "good"
    return ("healthy", "good") if tried or row.last_success_at else ("idle", "")


def _attempts_of(
    organization: Organization, subscriptions: Sequence[UUID], now: datetime
) -> dict[UUID, list[tuple[int, int]]]:
    """`(delivered, failed)` of each of the last 24 hours, oldest first."""
    found = {pk: [(0, 0)] * HOURS for pk in subscriptions}
    if not subscriptions:
        return found
    values = _values(organization, subscriptions)
    values |= {"now": now, "first": now - timedelta(hours=HOURS), "each": ATTEMPTS_EACH}
    with connection.cursor() as cursor:
        cursor.execute(_ATTEMPTS, values)
        for pk, begin, good, bad in cursor:
            # What began just now, by another clock, belongs to the last hour.
            back = max(1, (now - begin) // timedelta(hours=1))
            if back <= HOURS:
                found[pk][HOURS - back] = (good, bad)
    return found


def _waiting_of(
    organization: Organization, subscriptions: Sequence[UUID]
) -> dict[UUID, tuple[datetime | None, int, int]]:
    if not subscriptions:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, {**_values(organization, subscriptions), "counted": COUNTED})
        return {pk: (next_at, waiting, dead) for pk, next_at, waiting, dead in cursor}


def _values(organization: Organization, subscriptions: Sequence[UUID]) -> dict[str, Any]:
    return {"organization": organization.pk, "subscriptions": [str(pk) for pk in subscriptions]}
