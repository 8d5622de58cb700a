"""What is wrong with PostgreSQL, by an error of its driver: in words that name no host, user or value."""

from dataclasses import dataclass

import psycopg
from psycopg import errors

from core.postgresql.faults import causes


@dataclass(frozen=True, kw_only=True)
class Fault:
    """`what` is a sentence without its full stop, `remedy` what to do now."""

    what: str
    remedy: str


_READ_ONLY = Fault(
    what="PostgreSQL takes no writes: it is read-only",
    remedy="See whether it is a standby (`SELECT pg_is_in_recovery()`), or default_transaction_read_only is on.",
)
_FULL = Fault(
    what="PostgreSQL's disk is full",
    remedy="Make room on the disk of its data folder, or the disk larger; then run this again.",
)
_NO_CONNECTION_LEFT = Fault(
    what="PostgreSQL has no connection left",
    remedy="End what holds them (`SELECT * FROM pg_stat_activity`), or raise max_connections.",
)
_LOCKED = Fault(
    what="a table that is needed is locked",
    remedy="See who holds it (`SELECT pid, state, query FROM pg_stat_activity WHERE xact_start < now() - interval"
    " '1 minute'`), and run this again.",
)
_REFUSED = Fault(
    what="PostgreSQL refuses the user, the password or the database",
    remedy="Compare DATABASE_URL with the server's roles, databases and pg_hba.conf.",
)
_STARTING = Fault(what="PostgreSQL is starting or stopping", remedy="Wait a moment, and run this again.")
_AWAY = Fault(
    what="PostgreSQL does not answer",
    remedy="See that it runs, and that DATABASE_URL has its host and port.",
)
_NOT_MIGRATED = Fault(what="the schema lacks what this version needs", remedy="Run `manage.py migrate --no-input`.")

_BY_KIND: tuple[tuple[tuple[type[psycopg.Error], ...], Fault], ...] = (
    ((errors.ReadOnlySqlTransaction,), _READ_ONLY),
    ((errors.DiskFull,), _FULL),
    ((errors.TooManyConnections,), _NO_CONNECTION_LEFT),
    ((errors.LockNotAvailable, errors.DeadlockDetected, errors.QueryCanceled), _LOCKED),
    ((errors.InvalidPassword, errors.InvalidAuthorizationSpecification, errors.InvalidCatalogName), _REFUSED),
    ((errors.CannotConnectNow, errors.AdminShutdown, errors.CrashShutdown), _STARTING),
    ((errors.UndefinedTable, errors.UndefinedColumn), _NOT_MIGRATED),
)
# While a connection is made the driver has no code of the error, only libpq's words.
_BY_WORDS = (
    ("too many clients", _NO_CONNECTION_LEFT),
    ("too many connections", _NO_CONNECTION_LEFT),
    ("remaining connection slots", _NO_CONNECTION_LEFT),
    ("authentication failed", _REFUSED),
    ("no pg_hba.conf entry", _REFUSED),
    ("no password supplied", _REFUSED),
    ("does not exist", _REFUSED),
    ("starting up", _STARTING),
    ("shutting down", _STARTING),
    ("in recovery mode", _STARTING),
    ("No space left on device", _FULL),
)


def known_fault(error: BaseException | None) -> Fault | None:
    """The fault behind an error of psycopg or of Django; None when it is none that has a name."""
    for cause in causes(error):
        for kinds, fault in _BY_KIND:
            if isinstance(cause, kinds):
                return fault
        if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError | OSError):
            return next((fault for words, fault in _BY_WORDS if words in str(cause)), _AWAY)
    return None


def describe_fault(error: BaseException | None) -> str:
    """In a few words; of an error without a name its kind."""
    fault = known_fault(error)
    return fault.what if fault else f"PostgreSQL fails ({type(error).__name__})"


def describe_for_people(error: BaseException) -> str | None:
    """A line for whoever runs a command: what is wrong, in PostgreSQL's words too, what to do. None without a name."""
    fault = known_fault(error)
    if fault is None:
        return None
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{fault.what} ({said}). {fault.remedy}"
