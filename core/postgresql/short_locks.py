"""Locks of busy tables, taken so that nobody waits: briefly, often, and not for ever.

Whoever reads or writes queues behind one that waits for an exclusive lock, and a dump or a long query may keep that one
waiting for hours. So it gives up soon, lets everybody pass, and comes again.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg.errors import LockNotAvailable, QueryCanceled

# Others wait behind us for no longer than this, and then have a turn.
LOCK_TIMEOUT_MS = 100
# For a lock that only other such work wants; an autovacuum lets go of it once somebody has waited for a second.
PATIENT_MS = 2_000
TRIES = 20
PAUSE_SECONDS = 0.25
# What took too long with the locks will hardly be faster, and others waited for it.
_TRIES_OF_WORK = 3
# The view shows the locks of all databases of the server, and one that was copied has the same numbers for its tables.
_HOLDER = """
SELECT activity.pid, coalesce(nullif(activity.application_name, ''), activity.backend_type), activity.xact_start
FROM pg_locks AS held JOIN pg_stat_activity AS activity USING (pid)
JOIN pg_database AS ours ON ours.oid = held.database AND ours.datname = current_database()
WHERE held.granted AND held.relation = ANY(%s::regclass[]) AND held.pid <> pg_backend_pid()
ORDER BY activity.xact_start LIMIT 1
"""


_Result = TypeVar("_Result")


class InUseError(Exception):
    """The locks could not be had in any try; the message says who has them."""


class TooLongError(Exception):
    """What is done with the locks takes longer than others may wait."""


@contextmanager
def short_transaction() -> Iterator[CursorWrapper]:
    """A transaction that waits for each lock a moment only."""
    with transaction.atomic(), connection.cursor() as cursor:
        wait_for_locks(cursor, LOCK_TIMEOUT_MS)
        yield cursor
        # In a transaction around this one, such as a migration's, they would stay.
        cursor.execute("SET LOCAL lock_timeout TO DEFAULT")
        cursor.execute("SET LOCAL statement_timeout TO DEFAULT")


def wait_for_locks(cursor: CursorWrapper, milliseconds: int) -> None:
    """From here on the transaction waits for each lock so long."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{milliseconds}ms"])


def lock_out_such_work(cursor: CursorWrapper, tables: str) -> None:
    """Wait for an autovacuum, or for others that change `tables`, while everybody reads and writes them.

    An autovacuum gives way only to somebody who waits longer than others may wait for us. Locks that are taken after
    this one are waited for a moment only.
    """
    wait_for_locks(cursor, PATIENT_MS)
    cursor.execute(f"LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE")
    wait_for_locks(cursor, LOCK_TIMEOUT_MS)


def limit_statements(cursor: CursorWrapper, milliseconds: int) -> None:
    """From here on the transaction has locks for which others wait: no statement of it may take longer."""
    cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{milliseconds}ms"])


def try_often(work: Callable[[], _Result], *, tables: list[str], tries: int = TRIES) -> _Result:
    """Call `work`, one short_transaction(), until it has its locks; returns what it returns.

    Raises InUseError, which names a holder of the locks of `tables`, or TooLongError.
    """
    canceled = 0
    for left in range(tries, 0, -1):
        try:
            return work()
        except OperationalError as error:
            if isinstance(error.__cause__, QueryCanceled):
                canceled += 1
                if canceled == _TRIES_OF_WORK:
                    raise TooLongError(f"a step took longer than others may wait for {tables[0]}") from error
            elif not isinstance(error.__cause__, LockNotAvailable):
                raise
        if left > 1:
            time.sleep(PAUSE_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute(_HOLDER, [tables])
        row = cursor.fetchone()
    # The one that has been at it for the longest: a dump, most often.
    holder = f": {row[1]} (process {row[0]} of PostgreSQL) has held it since {row[2]:%H:%M:%S} UTC" if row else ""
    raise InUseError(f"{tables[0]} is in use{holder}")
