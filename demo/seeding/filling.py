"""Writing a week of made-up history: by COPY into tables of its own, which become partitions afterwards.

They get their indexes when they are full, which takes a third of the time that it takes row by row, and are frozen from
the start, so that nothing has to be vacuumed. A week that has its partition already is written into that one. This
module runs in processes without Django.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg

from demo.seeding.history import Counts, History
from demo.seeding.plan import Plan

PORTION = 20_000
_COLUMNS = {
    "ingestion_event": "id, organization_id, type, source, subject, data_text, received_at, batch_id",
    "delivery_delivery": "id, organization_id, subscription_id, event_id, status, created_at, delivered_at,"
    " next_attempt_at, attempts, last_error",
    "delivery_attempt": "id, organization_id, subscription_id, delivery_id, number, started_at, duration_ms,"
    " status_code, error, response",
}
_FAILURES = "COPY ingestion_processingfailure (event_id, organization_id, error, attempts, failed_at) FROM STDIN"
_INDEXES = "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = %s::regclass AND NOT indisprimary"
_KEYS = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'"

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, kw_only=True)
class Week:
    """The numbers of its events; `new` are the tables that have no partition for it."""

    start: datetime
    end: datetime
    numbers: range
    new: tuple[str, ...]


class NotWrittenError(Exception):
    """Says of which weeks, and why."""


def not_written(weeks: Iterable[Week], why: str) -> NotWrittenError:
    starts = [f"{week.start:%Y-%m-%d}" for week in weeks]
    which = f"The week of {starts[0]} was" if len(starts) == 1 else f"The weeks of {', '.join(starts)} were"
    return NotWrittenError(f"{which} not written: {why}.")


@contextmanager
def naming(week: Week) -> Iterator[None]:
    """What PostgreSQL refuses is a NotWrittenError of this week."""
    try:
        yield
    except psycopg.Error as error:
        line, _, _ = str(error).partition("\n")
        raise not_written([week], f"{type(error).__name__}, {line.rstrip('.')}") from error


def table_of(table: str, week: datetime) -> str:
    """What a week of `table` is called until it is a partition."""
    return f"seeding_{table}_{week:%Y%m%d}"


def fill_week(connection: Connection, plan: Plan, week: Week, report: Callable[[int], object]) -> Counts:
    """In one transaction of the caller's; `report` is told how many more events have been written."""
    history = History(plan, salt=f"{week.start:%Y%m%d}", end=week.end)
    statements = {table: _copy_statement(connection, table, week) for table in _COLUMNS}
    numbers = week.numbers
    for first in range(numbers.start, numbers.stop, PORTION):
        portion = range(first, min(first + PORTION, numbers.stop))
        lines = history.lines_of(portion)
        _copy(connection, statements["ingestion_event"], lines.events)
        _copy(connection, statements["delivery_delivery"], lines.deliveries)
        _copy(connection, statements["delivery_attempt"], lines.attempts)
        _copy(connection, _FAILURES, lines.failures)
        report(len(portion))
    for table in week.new:
        _make_indexes(connection, table, table_of(table, week.start))
    return history.counts


def _copy_statement(connection: Connection, table: str, week: Week) -> str:
    columns = _COLUMNS[table]
    if table not in week.new:
        return f"COPY {table} ({columns}) FROM STDIN"
    name = table_of(table, week.start)
    connection.execute(f"DROP TABLE IF EXISTS {name}".encode())  # of a run that was killed
    connection.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL EXCLUDING INDEXES)".encode())
    return f"COPY {name} ({columns}) FROM STDIN WITH (FREEZE)"


def _make_indexes(connection: Connection, table: str, name: str) -> None:
    """Those of `table`, as the catalog has them."""
    connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
    for (key,) in connection.execute(_KEYS, [table]).fetchall():
        connection.execute(f"ALTER TABLE {name} ADD {key}".encode())
    # Their names are given: those that PostgreSQL makes up are cut, so two weeks filled at once could take the same.
    for number, (definition,) in enumerate(connection.execute(_INDEXES, [table]).fetchall(), start=1):
        statement = re.sub(r"INDEX \S+ ON (ONLY )?\S+", f"INDEX {name}_{number} ON {name}", str(definition), count=1)
        connection.execute(statement.encode())


def _copy(connection: Connection, statement: str, lines: list[str]) -> None:
    if lines:
        with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.write("\n".join(lines) + "\n")
