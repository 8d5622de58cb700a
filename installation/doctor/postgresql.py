"""PostgreSQL: that it answers, is set as the promises need it, and belongs to us."""

import time
from collections.abc import Callable
from functools import wraps
from ipaddress import ip_address
from typing import Any

from django.db import OperationalError, connection
from redis.exceptions import RedisError

from core.postgresql.statement_limits import short_statements
from installation.doctor.checks import Check, Visit
from installation.doctor.clocks import compare_clocks
from installation.doctor.findings import CheckOutcome, good, problem, skipped, warning
from installation.doctor.places import is_embedded_postgresql
from observability.signs_of_life import read_signs

PART = "postgresql"
LANE = "postgresql"
OLDEST, NEWEST = 14, 18
# A statement that waits for a lock gives its connection back, also when nobody waits for the check any more.
STATEMENT_MILLISECONDS = 4000
_FULL = 0.8
_LONGEST_IDLE_SECONDS = 60


def in_database(run: Callable[[Visit], CheckOutcome]) -> Callable[[Visit], CheckOutcome]:
    """The check with a limit of time for each of its statements."""

    @wraps(run)
    def limited(visit: Visit) -> CheckOutcome:
        with short_statements(STATEMENT_MILLISECONDS):
            return run(visit)

    return limited


def row(statement: str, parameters: list[Any] | None = None) -> tuple[Any, ...]:
    """The first row; the statement has one."""
    return rows(statement, parameters)[0]


def rows(statement: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def _shown(name: str) -> str:
    return str(row("SELECT current_setting(%s)", [name])[0])


def _postgresql(visit: Visit) -> CheckOutcome:
    try:
        row("SELECT 1")
    except OperationalError as error:
        # libpq's words name host, port, user and database, and never the password.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if "startup parameter" in lines[0]:
            return problem(
                f"A pooler refuses the connection: {lines[0]}",
                "Behind PgBouncer in transaction mode, set DATABASE_TRANSACTION_POOLING=true"
                " (docs/operations/scaling.md).",
            )
        return problem(
            f"PostgreSQL refuses the connection: {lines[0]}",
            "See that the server runs, and that DATABASE_URL (or the file that DATABASE_URL_FILE names) has its host,"
            " database, user and password; `psql` with the same URL says the same.",
        )
    return good("PostgreSQL answers.")


@in_database
def _version(visit: Visit) -> CheckOutcome:
    number = connection.pg_version // 10_000  # type: ignore[attr-defined]
    if number < OLDEST:
        return problem(
            f"PostgreSQL is version {number}; {OLDEST} is the oldest that the platform supports.",
            "Upgrade it with pg_upgrade, or by dump and restore (docs/operations/upgrade.md).",
        )
    if number > NEWEST:
        return warning(
            f"PostgreSQL is version {number}; {NEWEST} is the newest that this version was tested with.",
            "Look in CHANGELOG.md for a version of the platform that names it.",
        )
    return good(f"PostgreSQL is version {number}.")


@in_database
def _encoding(visit: Visit) -> CheckOutcome:
    encoding = _shown("server_encoding")
    if encoding == "UTF8":
        return good("The database's encoding is UTF-8.")
    return problem(
        f"The database's encoding is {encoding}: the text of events is refused or corrupted.",
        "Make a new one with `createdb --template template0 --encoding UTF8 --locale C.UTF-8 NAME`, move the data with"
        " pg_dump and pg_restore, and name it in DATABASE_URL.",
    )


@in_database
def _durability(visit: Visit) -> CheckOutcome:
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if _shown(name) == "off"]
    if not off:
        return good("What is committed is on disk.")
    return problem(
        f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: a crash loses or destroys accepted events.",
        "As a superuser `ALTER SYSTEM SET … = on` and `SELECT pg_reload_conf()`; look into the server's command line"
        " too. synchronous_commit is set by the platform itself: if it is off, `options` in DATABASE_URL turn it off.",
    )


@in_database
def _standby(visit: Visit) -> CheckOutcome:
    """What "committed" means beyond this server. What only copies the log (pg_receivewal) is no standby."""
    wanted = _shown("synchronous_standby_names")
    states = [
        state
        for (state,) in rows(
            "SELECT sync_state FROM pg_stat_replication"
            " WHERE coalesce(application_name, '') NOT IN ('pg_basebackup', 'pg_receivewal')"
        )
    ]
    if any(state in ("sync", "quorum") for state in states):
        return good("A synchronous standby has what is committed: it is kept even if this server is lost.")
    if None in states:
        return skipped("A standby is connected; this role may not see which kind. `GRANT pg_monitor` permits it.")
    if wanted:
        return problem(
            f"Commits wait for a synchronous standby ({wanted}), and none is connected: no event is accepted.",
            "Bring it back; or, if it is lost, as a superuser `ALTER SYSTEM RESET synchronous_standby_names` and"
            " `SELECT pg_reload_conf()`.",
        )
    if states:
        return warning(
            "The standby is asynchronous: when it is promoted, events of the last moments may be missing, also those"
            " that were acknowledged.",
            "Name it in synchronous_standby_names if acknowledged events shall outlive their server"
            " (docs/operations/standby.md).",
        )
    return good("There is no standby: what is committed is kept as long as this server's disk is.")


@in_database
def _limits(visit: Visit) -> CheckOutcome:
    """Set by the platform for each session, but behind a pooler, and where DATABASE_URL says otherwise."""
    name, shown, seconds = row(
        "SELECT current_user, current_setting(name), extract(epoch FROM current_setting(name)::interval)"
        " FROM (VALUES ('idle_in_transaction_session_timeout')) AS setting (name)"
    )
    if 0 < seconds <= _LONGEST_IDLE_SECONDS:
        return good(f"An idle transaction ends after {shown}.")
    return warning(
        f"idle_in_transaction_session_timeout is {shown}: a host that dies inside a transaction keeps its locks, and"
        " all processing may wait behind them.",
        f"As the role itself or a superuser: `ALTER ROLE \"{name}\" SET idle_in_transaction_session_timeout = '30s'`;"
        " then restart all processes, and the pooler.",
    )


@in_database
def _role(visit: Visit) -> CheckOutcome:
    name, superuser, creates = row(
        "SELECT current_user, rolsuper, coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
        " FROM pg_roles WHERE rolname = current_user"
    )
    if is_embedded_postgresql():
        return good("The server is the platform's own, on a private socket.")
    if not creates:
        schema = row("SELECT coalesce(current_schema(), 'public')")[0]
        return problem(
            f"The role {name} may not create tables in the schema {schema}: migrations and new partitions fail.",
            f'As a superuser, in this database: `GRANT USAGE, CREATE ON SCHEMA {schema} TO "{name}"`.',
        )
    if superuser:
        return warning(
            f"The role {name} is a superuser: anybody who gets its password has the whole server.",
            "Make a role of its own (`createuser --pwprompt events`), let it own the database and what is in it, and"
            " name it in DATABASE_URL.",
        )
    return good(f"The role {name} is not a superuser, and may create tables.")


@in_database
def _ownership(visit: Visit) -> CheckOutcome:
    name = row("SELECT current_user")[0]
    foreign = rows(
        "SELECT relation.relname, owner.rolname, count(*) OVER () FROM pg_class AS relation"
        " JOIN pg_roles AS owner ON owner.oid = relation.relowner"
        " WHERE relation.relkind IN ('r', 'p', 'S') AND relation.relnamespace = current_schema()::regnamespace"
        " AND NOT pg_has_role(current_user, relation.relowner, 'USAGE') ORDER BY 1 LIMIT 3"
    )
    if not foreign:
        return good("All tables belong to the platform's role.")
    tables, owner, count = ", ".join(table for table, _, _ in foreign), foreign[0][1], foreign[0][2]
    return problem(
        f"{count} tables and sequences, such as {tables}, belong to {owner} and not to {name}: the platform cannot read"
        " or change them. A restore by another role does that.",
        f'As a superuser, for each of them: `ALTER TABLE … OWNER TO "{name}"`; or restore again with `pg_restore'
        f" --no-owner --role={name}`.",
    )


@in_database
def _connections(visit: Visit) -> CheckOutcome:
    allowed, used = row(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
    )
    try:
        wanted = sum(sign.connections for sign in read_signs())
    except RedisError:
        wanted = 0  # another finding says it
    remedy = (
        "Raise max_connections (a restart of PostgreSQL), lower DATABASE_POOL_SIZE or the number of processes, or put"
        " PgBouncer between them (docs/operations/scaling.md)."
    )
    if used >= _FULL * allowed:
        return warning(f"{used} of {allowed} connections are in use.", remedy)
    if wanted > allowed:
        return warning(f"The running processes may open {wanted} connections; PostgreSQL allows {allowed}.", remedy)
    return good(f"{used} of {allowed} connections are in use; the running processes may open {wanted}.")


@in_database
def _tls(visit: Visit) -> CheckOutcome:
    assert connection.connection is not None  # noqa: S101 - the transaction has one
    if connection.connection.pgconn.ssl_in_use:
        return good("The connection uses TLS.")
    host = connection.connection.info.hostaddr
    # Empty for a Unix socket; otherwise it is ours, or the same on both ends.
    if not host or ip_address(host).is_loopback or row("SELECT inet_client_addr() = inet_server_addr()")[0]:
        return good("PostgreSQL is on this machine.")
    return warning(
        f"The connection to PostgreSQL at {host} uses no TLS: passwords and events can be read on the way.",
        "Turn ssl on in PostgreSQL and add sslmode=verify-full (or at least require) to DATABASE_URL. In a network of"
        " containers of one machine it may stay.",
    )


def _clock(visit: Visit) -> CheckOutcome:
    before = time.time()
    theirs = float(row("SELECT extract(epoch FROM clock_timestamp())")[0])
    return compare_clocks("PostgreSQL's host", theirs=theirs, before=before, after=time.time())


def _needing(name: str, run: Callable[[Visit], CheckOutcome]) -> Check:
    return Check(part=PART, name=name, run=run, lane=LANE, needs="postgresql")


CHECKS = (
    Check(part=PART, name="postgresql", run=_postgresql, lane=LANE),
    _needing("postgresql_version", _version),
    _needing("postgresql_encoding", _encoding),
    _needing("postgresql_durability", _durability),
    _needing("postgresql_standby", _standby),
    _needing("postgresql_limits", _limits),
    _needing("postgresql_role", _role),
    _needing("postgresql_ownership", _ownership),
    _needing("postgresql_connections", _connections),
    _needing("postgresql_tls", _tls),
    _needing("clock_postgresql", _clock),
)
