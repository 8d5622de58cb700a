"""How a partition leaves without making the intake wait."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from core.event_ids import lowest_id
from core.partitions.weeks import Partition, partitions_of
from core.postgresql.short_locks import TRIES, InUseError, TooLongError, limit_statements, short_transaction, try_often

logger = logging.getLogger(__name__)
# The look for rows that are still needed holds the lock: some milliseconds for hundreds of organizations.
STATEMENT_TIMEOUT_MS = 700


def ended_partitions(table: str, *, now: datetime) -> list[Partition]:
    """Those whose last week has been over for a day: nothing is written to them but by replays."""
    yesterday = lowest_id(now - timedelta(days=1))
    return [partition for partition in partitions_of(table) if partition.end <= yesterday]


def drop_partition(partition: Partition, *, is_needed: Callable[[Partition], bool], tries: int = TRIES) -> bool:
    """Drop it unless something in it is needed; False when it is, or when its lock could not be had.

    A DROP, as PostgreSQL cannot detach concurrently where there is a default partition.
    """
    if is_needed(partition):
        return False
    try:
        return try_often(lambda: _drop(partition, is_needed), tables=[partition.table, partition.name], tries=tries)
    except (InUseError, TooLongError) as error:
        logger.warning("partition %s was not dropped, as %s; the next run tries again", partition.name, error)
        return False


def _drop(partition: Partition, is_needed: Callable[[Partition], bool]) -> bool:
    with short_transaction() as cursor:
        # The table before its partitions, as everybody else does; with it nobody can add a row meanwhile.
        cursor.execute(f"LOCK TABLE ONLY {partition.table} IN ACCESS EXCLUSIVE MODE")
        limit_statements(cursor, STATEMENT_TIMEOUT_MS)
        if is_needed(partition):
            return False
        cursor.execute("SELECT pg_total_relation_size(%s::regclass)", [partition.name])
        size = cursor.fetchone()[0]
        cursor.execute(f"DROP TABLE {partition.name}")
    logger.info("partition %s was dropped: %d bytes", partition.name, size)
    return True
