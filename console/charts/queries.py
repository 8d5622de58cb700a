"""What charts of an endpoint are drawn from: the counts of its attempts, and what waits for it now."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from console.drawing.sparklines import Sparkline, sparkline
from delivery.attempt_errors import error_words
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
_QUEUES = """
SELECT floor(extract(epoch FROM start - %(begin)s) / %(width)s)::int AS bar, max(waiting), max(oldest_seconds)
FROM delivery_queuesample
WHERE subscription_id = %(subscription)s AND organization_id = %(organization)s AND step = %(step)s
  AND start >= %(begin)s
GROUP BY 1
"""
_WAITING = """
SELECT count(*), extract(epoch FROM now() - min(created_at)) FROM (
    SELECT created_at FROM delivery_delivery
    WHERE subscription_id = %(subscription)s AND next_attempt_at IS NOT NULL
    ORDER BY next_attempt_at, id LIMIT %(most)s
) AS waiting
"""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a bar of each chart shows. Durations are milliseconds, or None without an attempt; `oldest` is seconds."""

    start: datetime
    delivered: int
    failed: int
    median: int | None
    slow: int | None
    waiting: int
    oldest: int


@dataclass(frozen=True, kw_only=True)
class Charts:
    """`errors`: the code, its words and how often, most first. Durations are milliseconds, `oldest` is seconds.

    `bars` are those in which there was something, newest first. `waiting` and `oldest` are of now, `most_waiting` and
    `longest`, which is seconds too, of all the time.
    """

    delivered: int
    failed: int
    outcomes: Sparkline
    median: int | None
    slow: int | None
    medians: Sparkline
    slows: Sparkline
    queues: Sparkline
    most_waiting: int
    ages: Sparkline
    longest: int
    errors: list[tuple[str, str, int]]
    waiting: int
    oldest: float
    bars: list[Bar]


def charts_of(subscription: Subscription, chosen: Range, *, now: datetime) -> Charts:
    """By three bounded queries."""
    begin = _begin(chosen, now)
    errors, durations = Counter[str](), Counter[int]()
    good, bad = Counter[int](), Counter[int]()
    by_bar: list[Counter[int]] = [Counter() for _ in range(chosen.bars)]
    for bar, outcome, bucket, count in _rows(_COUNTS, subscription, chosen, begin):
        durations[bucket] += count
        by_bar[bar][bucket] += count
        if outcome == DELIVERED:
            good[bar] += count
        else:
            bad[bar] += count
            errors[outcome] += count
    queues = {bar: (most, age) for bar, most, age in _rows(_QUEUES, subscription, chosen, begin)}
    bars = [
        Bar(
            start=begin + number * chosen.width,
            delivered=good[number],
            failed=bad[number],
            median=quantile(by_bar[number], 0.5),
            slow=quantile(by_bar[number], 0.95),
            waiting=queues.get(number, (0, 0))[0],
            oldest=queues.get(number, (0, 0))[1],
        )
        for number in range(chosen.bars)
    ]
    waiting, oldest = _waiting(subscription)
    return Charts(
        **_drawn(bars, f"in the last {chosen.label}"),
        delivered=good.total(),
        failed=bad.total(),
        median=quantile(durations, 0.5),
        slow=quantile(durations, 0.95),
        errors=[(code, error_words(code), count) for code, count in errors.most_common()],
        most_waiting=max(bar.waiting for bar in bars),
        longest=max(bar.oldest for bar in bars),
        waiting=waiting,
        oldest=oldest,
        bars=[bar for bar in reversed(bars) if bar.delivered or bar.failed or bar.waiting],
    )


def _drawn(bars: list[Bar], words: str) -> dict[str, Sparkline]:
    """The charts, by their name in Charts. `words` say of what time they are."""
    delivered, failed = sum(bar.delivered for bar in bars), sum(bar.failed for bar in bars)
    outcomes = f"{delivered} delivered and {failed} failed {words}"
    singles = {
        "medians": ("Median duration", [bar.median or 0 for bar in bars], "{} ms"),
        "slows": ("95th percentile", [bar.slow or 0 for bar in bars], "{} ms"),
        "queues": ("Waiting deliveries", [bar.waiting for bar in bars], "{}"),
        "ages": ("Age of the oldest that waits", [bar.oldest for bar in bars], "{} s"),
    }
    return {
        "outcomes": sparkline([(bar.delivered, bar.failed) for bar in bars], outcomes),
        **{
            name: sparkline([(each, 0) for each in values], f"{what} {words}, at most {unit.format(max(values))}")
            for name, (what, values, unit) in singles.items()
        },
    }


def _begin(chosen: Range, now: datetime) -> datetime:
    """Of the first bar."""
    width = chosen.width.total_seconds()
    last = now.timestamp() // width * width
    return datetime.fromtimestamp(last - (chosen.bars - 1) * width, tz=now.tzinfo)


def _rows(query: str, subscription: Subscription, chosen: Range, begin: datetime) -> list[tuple[Any, ...]]:
    values: dict[str, Any] = {
        "subscription": subscription.pk,
        "organization": subscription.organization_id,
        "step": int(chosen.step),
        "begin": begin,
        "width": chosen.width.total_seconds(),
    }
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        # Whatever a clock ahead of ours has begun.
        return [row for row in cursor.fetchall() if row[0] < chosen.bars]


def _waiting(subscription: Subscription) -> tuple[int, float]:
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, {"subscription": subscription.pk, "most": MOST_WAITING})
        count, oldest = cursor.fetchone()
    return count, float(oldest or 0)
