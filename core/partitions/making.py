"""Partitions are made ahead of time; what the default one has caught finds its place (docs/adr/0014)."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from core.event_ids import lowest_id, time_of
from core.partitions.weeks import WEEK, WEEKS_AHEAD, has_partition, partitions_of, week_of
from core.postgresql.short_locks import (
    PATIENT_MS,
    TRIES,
    InUseError,
    TooLongError,
    limit_statements,
    lock_out_such_work,
    short_transaction,
    try_often,
    wait_for_locks,
)

logger = logging.getLogger(__name__)
# Taken while partitions are made, so that two processes do not make the same one. Any fixed number does.
_LOCK = 7_022_026
# Of a default partition that is about to become one of its own: the promise that its rows lie within bounds.
_PROMISE = "rows_lie_within_bounds"
_MOVE = """
WITH moved AS (
    DELETE FROM {source} WHERE id = ANY(ARRAY(SELECT id FROM {source} WHERE {which} ORDER BY id LIMIT {most}))
    RETURNING *
) INSERT INTO {target} SELECT * FROM moved
"""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is done while others wait: how long a statement may take, and how many rows are moved."""

    hold_ms: int = 300
    most_moved: int = 2_000
    tries: int = TRIES


@dataclass(frozen=True, kw_only=True)
class _Range:
    """Ids from `low` on and below `end`."""

    low: UUID
    end: UUID

    @classmethod
    def of_week(cls, week: datetime) -> "_Range":
        return cls(low=lowest_id(week), end=lowest_id(week + WEEK))

    @property
    def condition(self) -> str:
        return f"id >= '{self.low}' AND id < '{self.end}'"

    @property
    def outside(self) -> tuple[str, str]:
        """Two conditions, as an index answers each of them and not both together."""
        return f"id < '{self.low}'", f"id >= '{self.end}'"

    @property
    def bounds(self) -> str:
        return f"FROM ('{self.low}') TO ('{self.end}')"


def make_partitions(
    *,
    now: datetime | None = None,
    tables: Iterable[str] | None = None,
    limits: Limits = Limits(),
    warn: Callable[[str], object] = logger.warning,
) -> list[str]:
    """Make the missing partitions of this week and the next four, of all tables by default; returns their names.

    Nobody waits for it much longer than half a second. `warn` is told of each table that was in use for too long, or
    has rows that cannot be moved in that time; then the next run tries again.
    """
    moment = now or timezone.now()
    made: list[str] = []
    for table in tables or settings.PARTITIONED_TABLES:
        try:
            made.extend(_make_missing(table, moment, limits))
        except (InUseError, TooLongError) as error:
            warn(f"Partitions of {table} were not made, as {error}. The next run tries again.")
    return made


def weeks_wanted(now: datetime) -> list[datetime]:
    """This week and the next four."""
    return [week_of(now) + WEEK * number for number in range(WEEKS_AHEAD + 1)]


def attach_partition(table: str, week: datetime, *, filled: str) -> None:
    """The table `filled`, which has the indexes of `table` and rows of that week alone, becomes its partition."""
    span = _Range.of_week(week)
    with connection.cursor() as cursor:
        # Now, while nobody else knows the table: PostgreSQL does not look at its rows again when others wait.
        cursor.execute(f"ALTER TABLE {filled} ADD CONSTRAINT {_PROMISE} CHECK ({span.condition})")
    name = _name_of(table, span)

    def attach() -> None:
        with _alone() as cursor:
            cursor.execute(f"ALTER TABLE {filled} RENAME TO {name}")
            _attach(cursor, table, span, timezone.now(), Limits())
            cursor.execute(f"ALTER TABLE {name} DROP CONSTRAINT {_PROMISE}")

    try_often(attach, tables=_touched(table))


def _make_missing(table: str, now: datetime, limits: Limits) -> Iterator[str]:
    _forget_promise(table, limits)
    for week in weeks_wanted(now):
        if has_partition(table, week):
            continue
        try:
            yield _make_often(table, week, now, limits)
        except TooLongError:
            if not _count(table, "true", limits):
                raise
            yield _make_of_default(table, week, now, limits)
            if not has_partition(table, week):
                yield _make_often(table, week, now, limits)


def _make_often(table: str, week: datetime, now: datetime, limits: Limits) -> str:
    if _count(table, _Range.of_week(week).condition, limits) > limits.most_moved:
        raise TooLongError(f"{table}_default has more rows of that week than can be moved while others wait")
    return try_often(lambda: _make(table, week, now, limits), tables=_touched(table), tries=limits.tries)


def _make(table: str, week: datetime, now: datetime, limits: Limits) -> str:
    span = _Range.of_week(week)
    name = _name_of(table, span)
    with _alone() as cursor:
        if not has_partition(table, week):  # made by another process meanwhile
            _create(cursor, name, table)
            _attach(cursor, table, span, now, limits)
    return name


def _create(cursor: CursorWrapper, name: str, table: str) -> None:
    """An empty table like `table`, stored as its default partition is: a partitioned one has no storage of its own."""
    cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
    cursor.execute(
        "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = %s::regclass", [f"{table}_default"]
    )
    if options := cursor.fetchone()[0]:
        cursor.execute(f"ALTER TABLE {name} SET ({options})")


def _attach(cursor: CursorWrapper, table: str, span: _Range, now: datetime, limits: Limits) -> str:
    """The table of that name, with the rows of its weeks that the default partition has caught."""
    name = _name_of(table, span)
    # Of weeks that have begun, a row may be on its way into the default partition, which would refuse it afterwards.
    is_written_to = span.low <= lowest_id(now + timedelta(days=1))
    _lock(cursor, table, limits, whole=is_written_to)
    _move(cursor, f"{table}_default", name, span.condition, limits)
    cursor.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {span.bounds}")
    return name


# --- The default partition becomes one of its own ---------------------------------------------------------------------


def _make_of_default(table: str, week: datetime, now: datetime, limits: Limits) -> str:
    """When it has too many rows to move; a new, empty one takes its place. Returns its new name.

    First the bounds are promised, so that no row comes that lies outside of them, then all rows are looked at while
    everybody goes on, and then the exchange takes a moment only. Killed in between it leaves the promise behind, which
    the next run takes back.
    """
    span, strays = _span_of_default(table, week, now, limits)
    default = f"{table}_default"
    tables = _touched(table)
    if not strays:
        try_often(lambda: _promise(table, span, limits), tables=tables, tries=limits.tries)
        try:
            try_often(lambda: _prove(table), tables=tables, tries=limits.tries)
        except IntegrityError as error:
            _forget_promise(table, limits)
            raise TooLongError(f"a row of another week came into {default} meanwhile") from error
    return try_often(lambda: _exchange(table, span, limits), tables=tables, tries=limits.tries)


def _span_of_default(table: str, week: datetime, now: datetime, limits: Limits) -> tuple[_Range, int]:
    """The gap between partitions that all rows of the default one lie in, but for a few; and how many these are."""
    default = f"{table}_default"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {default} ORDER BY id LIMIT 1")  # noqa: S608
        row = cursor.fetchone()
    first = row[0] if row else lowest_id(week)
    for reached in (lowest_id(week), first):
        span = _gap(table, reached, first, now)
        strays = sum(_count(table, which, limits) for which in span.outside)
        if strays <= limits.most_moved:
            return span, strays
    raise TooLongError(
        f"{default} has many rows of several times between which there are partitions: to move them takes longer than"
        " others may wait (docs/operations/runbooks.md, DefaultPartitionFills)"
    )


def _gap(table: str, reached: UUID, first: UUID, now: datetime) -> _Range:
    """From the partition before to the one after; where there is none, from the first row on, and to the next week."""
    partitions = partitions_of(table)
    before = [partition.end for partition in partitions if partition.end <= reached]
    after = [partition.low for partition in partitions if partition.low > reached]
    # A week more than is written to now: the look at the rows may last over midnight of a Sunday.
    end = lowest_id(max(week_of(now), week_of(time_of(reached))) + 2 * WEEK)
    return _Range(
        low=max(before, default=lowest_id(week_of(time_of(min(first, reached))))), end=min(after, default=end)
    )


def _promise(table: str, span: _Range, limits: Limits) -> None:
    default = f"{table}_default"
    with _alone() as cursor:
        _lock(cursor, table, limits)
        if _is_promised(table):
            raise InUseError(f"another process makes partitions of {table}")
        cursor.execute(f"ALTER TABLE {default} ADD CONSTRAINT {_PROMISE} CHECK ({span.condition}) NOT VALID")


def _prove(table: str) -> None:
    """Reads all rows, for minutes if there are millions, while others read and write them."""
    with _alone() as cursor:
        cursor.execute("SET LOCAL statement_timeout TO 0")
        wait_for_locks(cursor, PATIENT_MS)
        if not _is_promised(table):
            raise InUseError(f"another process makes partitions of {table}")
        cursor.execute(f"ALTER TABLE {table}_default VALIDATE CONSTRAINT {_PROMISE}")


def _forget_promise(table: str, limits: Limits) -> None:
    """That of a run that was killed."""

    def forget() -> None:
        with _alone() as cursor:
            _lock(cursor, table, limits)
            cursor.execute(f"ALTER TABLE {table}_default DROP CONSTRAINT IF EXISTS {_PROMISE}")

    if _is_promised(table):
        try_often(forget, tables=_touched(table), tries=limits.tries)


def _is_promised(table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_constraint WHERE conrelid = %s::regclass AND conname = %s", [f"{table}_default", _PROMISE]
        )
        return bool(cursor.rowcount)


def _exchange(table: str, span: _Range, limits: Limits) -> str:
    """Rows outside of its bounds, a few, go into the new default partition."""
    default, name = f"{table}_default", _name_of(table, span)
    with _alone() as cursor:
        _create(cursor, f"{default}_next", table)
        _lock(cursor, table, limits, whole=True)
        if any(partition.low < span.end and span.low < partition.end for partition in partitions_of(table)):
            raise InUseError(f"another process has made partitions of {table}")
        cursor.execute(f"ALTER TABLE {table} DETACH PARTITION {default}")
        cursor.execute(f"ALTER TABLE {default} RENAME TO {name}")
        cursor.execute(f"ALTER TABLE {default}_next RENAME TO {default}")
        for which in span.outside:
            _move(cursor, name, default, which, limits)
        cursor.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {span.bounds}")
        cursor.execute(f"ALTER TABLE {table} ATTACH PARTITION {default} DEFAULT")
        cursor.execute(f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {_PROMISE}")
    logger.info("%s had more rows than can be moved: it became %s, and a new one took its place", default, name)
    return name


# --- What each of them does -------------------------------------------------------------------------------------------


@contextmanager
def _alone() -> Iterator[CursorWrapper]:
    """A short transaction in which no other process makes partitions."""
    with short_transaction() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        yield cursor


def _lock(cursor: CursorWrapper, table: str, limits: Limits, *, whole: bool = False) -> None:
    """The table (`whole`: of everybody), then its default partition of everybody, as all others do in this order."""
    default = f"{table}_default"
    lock_out_such_work(cursor, f"ONLY {table}, {default}")
    cursor.execute(f"LOCK TABLE ONLY {f'{table}, ' if whole else ''}{default} IN ACCESS EXCLUSIVE MODE")
    limit_statements(cursor, limits.hold_ms)


def _move(cursor: CursorWrapper, source: str, target: str, which: str, limits: Limits) -> None:
    most = limits.most_moved + 1
    cursor.execute(_MOVE.format(source=source, target=target, which=which, most=most))
    if cursor.rowcount == most:
        raise TooLongError(f"{source} has more rows than can be moved while others wait")


def _count(table: str, which: str, limits: Limits) -> int:
    """Of the default partition, up to one more than may be moved."""
    rows = f"SELECT FROM {table}_default WHERE {which} ORDER BY id LIMIT {limits.most_moved + 1}"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({rows}) AS caught")  # noqa: S608
        return int(cursor.fetchone()[0])


def _touched(table: str) -> list[str]:
    return [table, f"{table}_default"]


def _name_of(table: str, span: _Range) -> str:
    first, last = time_of(span.low), time_of(span.end) - WEEK
    return f"{table}_{first:%Y%m%d}" if first >= last else f"{table}_{first:%Y%m%d}_{last:%Y%m%d}"
