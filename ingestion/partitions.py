"""Weekly partitions of the tables that are partitioned by UUIDv7, made ahead of time."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from ingestion.event_ids import lowest_id

WEEKS_AHEAD = 4
WEEK = timedelta(days=7)
# Taken while partitions are made, so that two processes do not make the same one. Any fixed number does.
_LOCK = 7_022_026


def week_of(moment: datetime) -> datetime:
    """Monday, midnight UTC, of the week of `moment`."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def make_partitions(*, now: datetime | None = None, tables: Iterable[str] | None = None) -> list[str]:
    """Make the missing partitions of this week and the next four, of all tables by default; returns their names."""
    first = week_of(now or timezone.now())
    weeks = [first + WEEK * number for number in range(WEEKS_AHEAD + 1)]
    return [name for table in tables or settings.PARTITIONED_TABLES for week in weeks if (name := _make(table, week))]


def has_partition(table: str, week: datetime) -> bool:
    """Whether the week has one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [_name_of(table, week)])
        return bool(cursor.fetchone()[0])


@transaction.atomic
def attach_partition(table: str, week: datetime, *, filled: str) -> None:
    """The table `filled`, which has the indexes of `table` and rows of that week alone, becomes its partition."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute(f"ALTER TABLE {filled} RENAME TO {_name_of(table, week)}")
    _attach(table, week)


@transaction.atomic
def _make(table: str, week: datetime) -> str | None:
    """One partition; rows of its week that the default partition has caught move into it."""
    name = _name_of(table, week)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        if has_partition(table, week):
            return None
        cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
    _attach(table, week)
    return name


def _attach(table: str, week: datetime) -> None:
    name = _name_of(table, week)
    low, high = str(lowest_id(week)), str(lowest_id(week + WEEK))
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table}_default IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(
            f"WITH moved AS (DELETE FROM {table}_default WHERE id >= %s AND id < %s RETURNING *)"  # noqa: S608
            f" INSERT INTO {name} SELECT * FROM moved",
            [low, high],
        )
        cursor.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')")


def _name_of(table: str, week: datetime) -> str:
    return f"{table}_{week:%Y%m%d}"
