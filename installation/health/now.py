"""The figures of the health page: what waits and how fast it moves, who lives, what is stored, and when it left."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from django.db import connection
from redis.exceptions import RedisError

from console.drawing.sparklines import Sparkline, sparkline
from installation.doctor.findings import Finding
from installation.health.samples import MINUTES, Sample, look_now, read_samples
from installation.health.status import Part, parts_of
from lifecycle.retention.last_run import LastRun, last_run
from observability.metrics.queries import MOST_COUNTED, TableFacts, table_facts
from observability.signs_of_life import Sign, read_signs

# A rate of one minute jumps.
_RATE_MINUTES = 5
_TABLES = 12
# The first minute may have begun before.
_RATES = """
SELECT 'outbox', floor(extract(epoch FROM minute) / 60)::bigint, sum(count)::bigint, 0
FROM ingestion_intakecount WHERE minute >= %(since)s AND outcome = 'accepted' GROUP BY 2
UNION ALL
SELECT 'sending', floor(extract(epoch FROM start) / 60)::bigint,
       coalesce(sum(count) FILTER (WHERE outcome = 'delivered'), 0)::bigint,
       coalesce(sum(count) FILTER (WHERE outcome <> 'delivered'), 0)::bigint
FROM delivery_outcomecount WHERE step = 60 AND start >= %(since)s GROUP BY 2
"""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One place where things wait. `rate` is a minute's, of the last five; None where nobody counts."""

    title: str
    what: str
    waiting: int
    is_bounded: bool
    age: float
    backlog: Sparkline
    rate: int | None = None
    rates: Sparkline | None = None


@dataclass(frozen=True, kw_only=True)
class Process:
    sign: Sign
    seen_at: datetime


@dataclass(frozen=True, kw_only=True)
class Figures:
    """`processes` is None when Redis is away."""

    parts: dict[str, Part]
    flows: list[Flow]
    processes: list[Process] | None
    tables: list[TableFacts]
    partitioned: list[TableFacts]
    retention: LastRun | None


def figures(findings: Sequence[Finding]) -> Figures:
    """As they are now, by a few bounded queries; the parts are as a complete examination has just found them."""
    tables = table_facts()
    return Figures(
        parts=parts_of(findings),
        flows=_flows(),
        processes=_processes(),
        tables=tables[:_TABLES],
        partitioned=[table for table in tables if table.partitions],
        retention=last_run(),
    )


def _flows() -> list[Flow]:
    now, kept, rates = look_now(), read_samples(), _rates()
    minutes = range(now.minute - MINUTES + 1, now.minute + 1)
    samples = [*map(kept.get, minutes[:-1]), now]

    def of(name: str) -> list[tuple[int, int]]:
        return [rates[name].get(minute, (0, 0)) for minute in minutes]

    return [
        _flow("Outbox", "batches wait to be processed", samples, of("outbox")),
        _flow("Sending", "webhooks are due", samples, of("sending")),
        _flow("Inboxes", "events wait to be taken", samples, None),
    ]


def _flow(title: str, what: str, samples: Sequence[Sample | None], moved: Sequence[tuple[int, int]] | None) -> Flow:
    """`moved` is what good and bad came of it in each minute."""
    name = title.lower()
    waiting = [getattr(sample, name) if sample else 0 for sample in samples]
    flow = Flow(
        title=title,
        what=what,
        waiting=waiting[-1],
        is_bounded=waiting[-1] >= MOST_COUNTED,
        age=getattr(samples[-1], f"{name}_age"),
        backlog=sparkline([(0, each) for each in waiting], f"{title}: at most {max(waiting)} waited in the last hour"),
    )
    if moved is None:
        return flow
    # Without this minute, which has only begun.
    lately = sum(map(sum, moved[-1 - _RATE_MINUTES : -1]))
    line = sparkline(moved, f"{title}: {sum(map(sum, moved))} in the last hour")
    return replace(flow, rate=round(lately / _RATE_MINUTES), rates=line)


def _rates() -> dict[str, dict[int, tuple[int, int]]]:
    since = datetime.fromtimestamp((int(time.time() // 60) - MINUTES + 1) * 60, UTC)
    found: dict[str, dict[int, tuple[int, int]]] = {"outbox": {}, "sending": {}}
    with connection.cursor() as cursor:
        cursor.execute(_RATES, {"since": since})
        for name, minute, good, bad in cursor:
            found[name][minute] = good, bad
    return found


def _processes() -> list[Process] | None:
    try:
        signs = read_signs()
    except RedisError:
        return None
    return [Process(sign=sign, seen_at=datetime.fromtimestamp(sign.written_at, UTC)) for sign in signs]
