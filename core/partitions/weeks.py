"""Which partitions the tables have that are partitioned by UUIDv7. Each is a week, or several in a row."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection

from core.event_ids import HIGHEST_ID, LOWEST_ID, lowest_id, time_of

WEEKS_AHEAD = 4
WEEK = timedelta(days=7)
# Nothing here waits for a lock, which pg_get_expr() would if it were given the partition.
_PARTITIONS = """
SELECT child.relname, greatest(child.reltuples, 0)::bigint, pg_get_expr(child.relpartbound, 0)
FROM pg_inherits JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = %s::regclass AND NOT inhdetachpending
"""
_BOUNDS = re.compile(r"\AFOR VALUES FROM \((?P<low>MINVALUE|'[^']+')\) TO \((?P<end>MAXVALUE|'[^']+')\)\Z")


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Has the ids from `low` on and below `end`. `rows` is PostgreSQL's estimate."""

    name: str
    table: str
    low: UUID
    end: UUID
    rows: int

    @property
    def week(self) -> datetime:
        """The first, or the only one."""
        return time_of(self.low)


def week_of(moment: datetime) -> datetime:
    """Monday, midnight UTC, of the week of `moment`."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def partitions_of(table: str) -> list[Partition]:
    """Oldest first; without the default one."""
    with connection.cursor() as cursor:
        cursor.execute(_PARTITIONS, [table])
        rows = cursor.fetchall()
    found = []
    for name, estimate, bounds in rows:
        if match := _BOUNDS.match(bounds):
            low = LOWEST_ID if match["low"] == "MINVALUE" else UUID(match["low"].strip("'"))
            end = HIGHEST_ID if match["end"] == "MAXVALUE" else UUID(match["end"].strip("'"))
            found.append(Partition(name=name, table=table, low=low, end=end, rows=estimate))
    return sorted(found, key=lambda partition: partition.low)


def has_partition(table: str, week: datetime) -> bool:
    """Whether one covers the week that begins then."""
    return covers(partitions_of(table), week)


def covers(partitions: Iterable[Partition], week: datetime) -> bool:
    """Whether one of them covers the week that begins then."""
    low, end = lowest_id(week), lowest_id(week + WEEK)
    return any(partition.low <= low and end <= partition.end for partition in partitions)
