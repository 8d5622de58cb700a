"""The two builds under test: the platform and the textbook build, each with its database, tenants and server."""

import json
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import redis

from benchmarks.lab import Lab
from benchmarks.servers import HOST, WebServer, free_port, serving
from events_platform.up import programs
from events_platform.up.child import Program
from events_platform.up.postgres import database_url
from events_platform.up.valkey import redis_url
from installation.local.data_dir import CHECKOUT

OURS, TEXTBOOK = "ours", "textbook"
OUR_PROCESSES, TEXTBOOK_PROCESSES = 2, 4
# The limit is looked up and counted for every event, and never reached. The column ends at 2^31 - 1.
UNREACHED_LIMIT = 2_000_000_000
_TEXTBOOK_DATABASE = "textbook"
_TEXTBOOK_SETTINGS = "benchmarks.textbook.settings"
_TEXTBOOK_REDIS = 2
OUR_TABLES = (
    "ingestion_event",
    "ingestion_outboxentry",
    "ingestion_idempotencykey",
    "delivery_delivery",
    "delivery_attempt",
    "delivery_keyqueue",
    "delivery_keyqueuemember",
)
_TEXTBOOK_TABLES = ("textbook_event", "textbook_delivery", "textbook_attempt")
_TRIES = 10
_SETTLED_SECONDS = 0.5
_SETTLING_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """An organization to be made; without a limit of its own the plan's holds."""

    name: str
    plan: str = "enterprise"
    events_per_minute: int | None = UNREACHED_LIMIT


class Target:
    """A build that is ready to be served: migrated, its database open for counting and emptying."""

    def __init__(self, lab: Lab, *, name: str, environment: Mapping[str, str], database: str, redis_first: int) -> None:
        self.name = name
        self.environment = environment
        self._lab = lab
        self._url = database_url(lab.data, database)
        # The cache and the broker.
        self._redis = [redis_url(lab.data, redis_first), redis_url(lab.data, redis_first + 1)]
        self._tenants_module, self._tables = _PARTS[name]

    def make_tenants(self, tenants: Sequence[Tenant]) -> list[str]:
        """Make the organizations; one API key for each."""
        wanted = [
            {"name": tenant.name, "plan": tenant.plan, "events_per_minute": tenant.events_per_minute}
            for tenant in tenants
        ]
        keys: list[str] = json.loads(self.run(self._tenants_module, wanted))
        return keys

    def empty(self, *, keep_queues: bool = False) -> None:
        """Remove all events, so that each measurement starts alike and pays for no checkpoint of the one before.

        Queues are kept where workers run: they would not find them again.
        """
        with self.connected() as connection:
            truncate(connection, self._tables)
            connection.execute("CHECKPOINT")
        for url in self._redis[: 1 if keep_queues else 2]:
            with redis.Redis.from_url(url) as server:
                server.flushdb()

    def tidy(self) -> None:
        """What autovacuum and checkpoints have long done where tables did not fill in the last few seconds."""
        with self.connected() as connection:
            connection.execute(f"VACUUM (ANALYZE) {', '.join(self._tables)}")
            connection.execute("CHECKPOINT")

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection]:
        """A connection to its database, in which each statement is committed by itself."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            yield connection

    def run(self, module: str, wanted: object) -> str:
        """Run a module under the build's settings, which reads `wanted` as JSON; returns what it prints."""
        return self._lab.run("-m", module, environment=self.environment, stdin=json.dumps(wanted))

    def settled_count(self) -> int:
        """The events in the database, once it has been the same for half a second."""
        with self.connected() as connection:
            deadline = time.monotonic() + _SETTLING_SECONDS
            count = self._count(connection)
            while time.monotonic() < deadline:
                time.sleep(_SETTLED_SECONDS)
                before, count = count, self._count(connection)
                if count == before:
                    break
            return count

    def _count(self, connection: psycopg.Connection) -> int:
        row = connection.execute(f"SELECT count(*) FROM {self._tables[0]}").fetchone()
        assert row is not None
        return int(row[0])

    @contextmanager
    def served(self) -> Iterator[WebServer]:
        """Its web server, as its makers would start it."""
        port = free_port()
        program = _program(self.name, {**self.environment, "PORT": str(port)}, port)
        with serving(self._lab, program, port=port, health="/health/live") as server:
            yield server


# The module that makes tenants, and the tables that fill, the events first.
_PARTS = {
    OURS: ("benchmarks.platform_tenants", OUR_TABLES),
    TEXTBOOK: ("benchmarks.textbook.tenants", _TEXTBOOK_TABLES),
}


def prepared_platform(lab: Lab, **settings: str) -> Target:
    """The platform as `make run` serves it, without worker and beat; `settings` are added to its environment."""
    environment = {
        **lab.platform_environment(),
        "WEB_CONCURRENCY": str(OUR_PROCESSES),
        "LOG_LEVEL": "WARNING",
        **settings,
    }
    lab.run("manage.py", "migrate", "--no-input", environment=environment)
    return Target(lab, name=OURS, environment=environment, database="events", redis_first=0)


def prepared_textbook(lab: Lab) -> Target:
    """The textbook build, in a database of its own on the same server, without its worker."""
    environment = lab.reference_environment(
        database=_TEXTBOOK_DATABASE, settings=_TEXTBOOK_SETTINGS, first_redis=_TEXTBOOK_REDIS
    )
    lab.run("-m", "django", "migrate", "--no-input", environment=environment)
    return Target(lab, name=TEXTBOOK, environment=environment, database=_TEXTBOOK_DATABASE, redis_first=_TEXTBOOK_REDIS)


def truncate(connection: psycopg.Connection, tables: Sequence[str]) -> None:
    """A worker may hold one of the tables and want another; PostgreSQL then ends either, which tries again."""
    for left in reversed(range(_TRIES)):
        try:
            connection.execute(f"TRUNCATE {', '.join(tables)}")
        except psycopg.errors.DeadlockDetected:
            if not left:
                raise
        else:
            return


def new_tag() -> str:
    """Tells the events of one measurement from those of every other one."""
    return secrets.token_hex(4)


def _program(name: str, environment: Mapping[str, str], port: int) -> Program:
    if name == OURS:
        return programs.web(environment)
    options = ("--bind", f"{HOST}:{port}", "--workers", str(TEXTBOOK_PROCESSES), "--log-level", "warning")
    # `-c` keeps gunicorn from reading the platform's configuration, which lies in the folder.
    return Program(
        name=TEXTBOOK,
        command=(sys.executable, "-m", "gunicorn", "-c", "/dev/null", *options, "benchmarks.textbook.wsgi:application"),
        environment=environment,
        folder=CHECKOUT,
    )
