"""What charts of an endpoint are drawn from: the counts of its attempts, and what waits for it now."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from console.drawing.sparklines import Sparkline, sparkline
from delivery.attempt_errors import ERROR_WORDS, AttemptError
from delivery.metrics import DELIVERED
from delivery.models import Subscription
from delivery.outcome_counts.buckets import quantile
from delivery.outcome_counts.models import CountStep

# Of what waits, no more is counted.
MOST_WAITING = 10_000


@dataclass(frozen=True, kw_only=True)
class Range:
    """`bars` of `width` each; `step` is that of the counts that they are made of."""

    name: str
    label: str
    step: CountStep
    width: timedelta
    bars: int


RANGES = {
    chosen.name: chosen
    for chosen in (
        Range(name="1h", label="1 hour", step=CountStep.MINUTE, width=timedelta(minutes=1), bars=60),
        Range(name="24h", label="24 hours", step=CountStep.HOUR, width=timedelta(hours=1), bars=24),
        Range(name="7d", label="7 days", step=CountStep.HOUR, width=timedelta(hours=3), bars=56),
        Range(name="30d", label="30 days", step=CountStep.HOUR, width=timedelta(hours=12), bars=60),
    )
}
_COUNTS = """
SELECT floor(extract(epoch FROM start - %(begin)s) / %(width)s)::int AS bar, outcome, bucket, sum(count)::bigint
FROM delivery_outcomecount
WHERE subscription_id = %(subscription)s AND organization_id = %(organization)s AND step = %(step)s
  AND start >= %(begin)s
GROUP BY 1, 2, 3
"""
_WAITING = """
SELECT count(*), extract(epoch FROM now() - min(created_at)) FROM (
    SELECT created_at FROM delivery_delivery
    WHERE subscription_id = %(subscription)s AND next_attempt_at IS NOT NULL
    ORDER BY next_attempt_at, id LIMIT %(most)s
) AS waiting
"""


@dataclass(frozen=True, kw_only=True)
class Charts:
    """`errors`: the code, its words and how often, most first. Times are milliseconds."""

    delivered: int
    failed: int
    outcomes: Sparkline
    median: int | None
    slow: int | None
    medians: Sparkline
    slows: Sparkline
    errors: list[tuple[str, str, int]]
    waiting: int
    oldest: float


def charts_of(subscription: Subscription, chosen: Range, *, now: datetime) -> Charts:
    """By two bounded queries."""
    rows = _rows(subscription, chosen, now)
    good, bad = Counter[int](), Counter[int]()
    errors, durations = Counter[str](), Counter[int]()
    by_bar: list[Counter[int]] = [Counter() for _ in range(chosen.bars)]
    for bar, outcome, bucket, count in rows:
        durations[bucket] += count
        by_bar[bar][bucket] += count
        if outcome == DELIVERED:
            good[bar] += count
        else:
            bad[bar] += count
            errors[outcome] += count
    medians, slows = ([quantile(each, share) or 0 for each in by_bar] for share in (0.5, 0.95))
    waiting, oldest = _waiting(subscription)
    words = f"in the last {chosen.label}"
    return Charts(
        delivered=good.total(),
        failed=bad.total(),
        outcomes=sparkline(
            [(good[bar], bad[bar]) for bar in range(chosen.bars)],
            f"{good.total()} delivered and {bad.total()} failed {words}",
        ),
        median=quantile(durations, 0.5),
        slow=quantile(durations, 0.95),
        medians=sparkline([(each, 0) for each in medians], f"Median duration {words}, at most {max(medians)} ms"),
        slows=sparkline([(each, 0) for each in slows], f"95th percentile {words}, at most {max(slows)} ms"),
        errors=[(code, _words(code), count) for code, count in errors.most_common()],
        waiting=waiting,
        oldest=oldest,
    )


def _rows(subscription: Subscription, chosen: Range, now: datetime) -> list[tuple[int, str, int, int]]:
    width = chosen.width.total_seconds()
    last = now.timestamp() // width * width
    begin = datetime.fromtimestamp(last - (chosen.bars - 1) * width, tz=now.tzinfo)
    values: dict[str, Any] = {
        "subscription": subscription.pk,
        "organization": subscription.organization_id,
        "step": int(chosen.step),
        "begin": begin,
        "width": width,
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, values)
        # Whatever a clock ahead of ours has begun.
        return [row for row in cursor.fetchall() if row[0] < chosen.bars]


def _waiting(subscription: Subscription) -> tuple[int, float]:
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, {"subscription": subscription.pk, "most": MOST_WAITING})
        count, oldest = cursor.fetchone()
    return count, float(oldest or 0)


def _words(code: str) -> str:
    return ERROR_WORDS[AttemptError(code)] if code in set(AttemptError) else code
