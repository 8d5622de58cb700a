"""Whose fault is it that a statement failed: PostgreSQL's, at that time, or that of the data it was given?

What is PostgreSQL's passes: the same statement is tried again later. What is the data's never does.
"""

from collections.abc import Iterator

import psycopg
from django.db import InterfaceError, OperationalError
from psycopg import errors

# By the class of the SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_PASSING = frozenset(
    {
        "08",  # the connection
        "0A",  # a plan that was made before the tables changed
        "25",  # read only; a transaction that was idle for too long
        "28",  # the role
        "3D",
        "3F",  # the database, the schema
        "40",  # deadlock, serialization
        "42",  # a table or column that is not there (an upgrade), a right that is missing
        "53",  # disk full, too many connections
        "55",  # a lock that could not be had
        "57",  # shutdown, start, a time limit
        "58",  # the disk
    }
)
_DEFAULT_PARTITION = "_default"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error itself, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def is_passing(error: BaseException) -> bool:
    """Whether PostgreSQL's state made this fail and not the data. False for what is no error of a database.

    For the errors of psycopg and of Django, and for what was raised from one of them.
    """
    for cause in causes(error):
        if isinstance(cause, psycopg.Error):
            return _is_passing(cause)
        # Django makes some itself, such as "connection already closed".
        if isinstance(cause, InterfaceError | OperationalError) and cause.__cause__ is None:
            return True
    return False


def _is_passing(error: psycopg.Error) -> bool:
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    if isinstance(error, errors.CheckViolation):
        # A row met a partition while it was attached, or the default one while its rows move. A partition's own bounds
        # have no name; a check that stands for them meanwhile is the default partition's alone.
        return error.diag.constraint_name is None or (error.diag.table_name or "").endswith(_DEFAULT_PARTITION)
    # The statement before this one failed; that one tells.
    return error.sqlstate[:2] in _PASSING and not isinstance(error, errors.InFailedSqlTransaction)
