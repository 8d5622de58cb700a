"""Which partitions there are, and how one leaves without making the intake wait."""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable, QueryCanceled

from ingestion.event_ids import lowest_id
from ingestion.partitions import WEEK

logger = logging.getLogger(__name__)
# Whoever writes an event waits behind a drop that waits for its lock: no longer than this, and then it has a turn.
LOCK_TIMEOUT_MS = 100
# The look for rows that are still needed holds the lock: some milliseconds for hundreds of organizations.
STATEMENT_TIMEOUT_MS = 1_000
TRIES = 20
PAUSE_SECONDS = 0.25
_NAME = re.compile(r"\A(?P<table>[a-z_]+)_(?P<week>\d{8})\Z")
_PARTITIONS = """
SELECT child.relname, pg_total_relation_size(child.oid), greatest(child.reltuples, 0)::bigint
FROM pg_inherits JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = %s::regclass AND NOT inhdetachpending ORDER BY child.relname
"""


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A week of a table. `rows` is PostgreSQL's estimate, `size` in bytes with indexes."""

    name: str
    table: str
    week: datetime
    size: int
    rows: int

    @property
    def low(self) -> UUID:
        return lowest_id(self.week)

    @property
    def end(self) -> UUID:
        """The first id after it."""
        return lowest_id(self.week + WEEK)


def partitions_of(table: str) -> list[Partition]:
    """The weekly partitions, oldest first; without the default one."""
    with connection.cursor() as cursor:
        cursor.execute(_PARTITIONS, [table])
        rows = cursor.fetchall()
    found = []
    for name, size, estimate in rows:
        match = _NAME.match(name)
        if match and match["table"] == table:
            week = datetime.strptime(match["week"], "%Y%m%d").replace(tzinfo=UTC)
            found.append(Partition(name=name, table=table, week=week, size=size, rows=estimate))
    return found


def ended_partitions(table: str, *, now: datetime) -> list[Partition]:
    """Those whose week has been over for a day: nothing is written to them but by replays."""
    return [partition for partition in partitions_of(table) if partition.week + WEEK + timedelta(days=1) <= now]


def drop_partition(partition: Partition, *, is_needed: Callable[[Partition], bool], tries: int = TRIES) -> bool:
    """Drop it unless something in it is needed; False when it is, or when its lock could not be had.

    A DROP, as PostgreSQL cannot detach concurrently where there is a default partition. It takes the table's lock for
    a moment. Readers may hold that for long (a dump, an export), and writers queue behind whoever waits: so it waits
    briefly and often.
    """
    if is_needed(partition):
        return False
    for left in range(tries, 0, -1):
        try:
            return _drop(partition, is_needed)
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable | QueryCanceled):
                raise
        if left > 1:
            time.sleep(PAUSE_SECONDS)
    logger.warning("partition %s was not dropped, as its table was in use; the next run tries again", partition.name)
    return False


@transaction.atomic
def _drop(partition: Partition, is_needed: Callable[[Partition], bool]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)",
            [f"{LOCK_TIMEOUT_MS}ms", f"{STATEMENT_TIMEOUT_MS}ms"],
        )
        # The table before its partition, as everybody else does; with it nobody can add a row meanwhile.
        cursor.execute(f"LOCK TABLE ONLY {partition.table} IN ACCESS EXCLUSIVE MODE")
        if is_needed(partition):
            return False
        cursor.execute(f"DROP TABLE {partition.name}")
        cursor.execute("SELECT set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true)")
    logger.info("partition %s was dropped: %d bytes", partition.name, partition.size)
    return True
