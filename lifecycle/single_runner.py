"""Work that only one process of all does at a time."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import Error, connection


@contextmanager
def single_runner(number: int) -> Iterator[bool]:
    """Whether the caller is the one; PostgreSQL ends the claim of a process that dies. `number` names the work.

    The claim is a transaction of a connection of its own: a pooler would give what a session holds to somebody else.
    Nothing is read or written in it, so it holds up neither rows nor their clean-up.
    """
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
            is_ours = bool(cursor.fetchone()[0])
        yield is_ours
    finally:
        # PostgreSQL notices some time later that a connection was closed, and keeps its claims until then.
        with suppress(Error):
            holder.rollback()
        holder.close()
