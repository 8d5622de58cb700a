"""pytest plugin (`-p tests.support.services`): the real PostgreSQL and Redis under the tests.

Unless `DATABASE_URL` and `REDIS_URL` name servers, it starts embedded ones for the run, makes a migrated
template database, and stops them at the end. It must come before pytest-django, which reads the settings when it loads.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, MutableMapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

import psutil
import psycopg
import pytest

from events_platform.up.embedded import EmbeddedServers, server_urls
from events_platform.up.output import Output
from events_platform.up.postgres import create_database, database_url
from events_platform.up.valkey import broker_url, on_database
from installation.local.data_dir import CHECKOUT, DataDir
from installation.local.errors import UpError

TEMPLATE = "events_template"
# A test run may lose its data: the disk need not be waited for. Commits stay synchronous, as in production.
_POSTGRES_OPTIONS = ("fsync=off", "full_page_writes=off")
# All that a run starts has this in its environment.
_RUN = "TEST_RUN"
_STOP_SECONDS = 10
_MOST_WORKERS = 31
_REDIS_DATABASES = 2 * _MOST_WORKERS + 2


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """A wrapper, because only wrappers come before pytest-django's own hook."""
    options = early_config.known_args_namespace
    _let_sigterm_interrupt()
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        give_worker_its_redis(os.environ, int(worker.removeprefix("gw")))
    elif not (options.help or options.version):
        try:
            early_config.add_cleanup(start_services(os.environ).close)
        except UpError as error:
            raise pytest.UsageError(str(error)) from error
    return (yield)


def _let_sigterm_interrupt() -> None:
    """Let SIGTERM do what Ctrl-C does: a process that it ended at once would leave behind all that it has started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Processes that a test forks are ended by SIGTERM, whatever they are in the middle of.
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: three for each two cores, as many tests wait for other processes."""
    return max(min((os.cpu_count() or 1) * 3 // 2, _MOST_WORKERS), 2)


def start_services(environ: MutableMapping[str, str]) -> ExitStack:
    """Start the servers that `environ` does not name, and name them there; closing the result stops them."""
    base = DataDir.from_environment(environ)
    base.make()
    data = DataDir(base.root / f"test-{os.getpid()}")
    quiet = Output(os.open(os.devnull, os.O_WRONLY))
    _sweep(base, quiet)
    servers = EmbeddedServers(data, quiet, environ, postgres_options=_POSTGRES_OPTIONS, databases=_REDIS_DATABASES)
    with ExitStack() as started:
        data.make()
        started.callback(shutil.rmtree, data.root, ignore_errors=True)
        started.enter_context(data.locked())
        started.callback(servers.stop)
        servers.start()
        embedded_database = not environ.get("DATABASE_URL")
        environ.update(server_urls(data, environ))
        environ["EVENTS_DATA_DIR"] = str(data.root)
        environ.setdefault("SECRET_KEY", "only for tests: a key of fifty characters or some more")
        if embedded_database:
            _make_template(base, data, environ)
            environ["TEST_DATABASE_TEMPLATE"] = TEMPLATE
        environ[_RUN] = str(data.root)
        started.callback(_end_what_is_left, environ[_RUN])
        return started.pop_all()
    raise AssertionError("unreachable")


def give_worker_its_redis(environ: MutableMapping[str, str], worker: int) -> None:
    """Two databases of the Redis server for each xdist worker, as each has a PostgreSQL database of its own."""
    redis = environ["REDIS_URL"]
    environ["REDIS_URL"] = on_database(redis, 2 * worker + 2)
    if environ["CELERY_BROKER_URL"].startswith("redis"):
        environ["CELERY_BROKER_URL"] = broker_url(redis, 2 * worker + 3)


def _end_what_is_left(run: str) -> None:
    """End what workers that were killed have left: servers and browsers of tests, most in sessions of their own."""
    left = [process for process in psutil.process_iter(["environ"]) if (process.info["environ"] or {}).get(_RUN) == run]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=_STOP_SECONDS)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _sweep(base: DataDir, output: Output) -> None:
    """Remove what killed runs left behind."""
    for root in base.root.glob("test-*"):
        data = DataDir(root)
        if root.is_dir() and not data.in_use():
            EmbeddedServers(data, output, {}).end_leftovers()
            shutil.rmtree(root, ignore_errors=True)


def _make_template(base: DataDir, data: DataDir, environ: MutableMapping[str, str]) -> None:
    """Make the database that each worker copies: from the dump of a run before this one, or by the migrations."""
    kept = base.root / f"template-{_fingerprint()}.sql"
    with psycopg.connect(database_url(data, "postgres")) as connection:
        row = connection.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchone()
    assert row is not None
    url, programs = database_url(data, TEMPLATE), Path(row[0])
    create_database(data, TEMPLATE)
    if kept.exists():
        restore = [str(programs / "psql"), "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
        if subprocess.run([*restore, f"--file={kept}", url], capture_output=True, check=False).returncode == 0:
            return
        # Nothing of it is there, as it was one transaction.
        kept.unlink(missing_ok=True)
    _migrate(url, environ)
    partial = kept.with_suffix(f".{os.getpid()}")
    dump = [str(programs / "pg_dump"), f"--file={partial}", url]
    if subprocess.run(dump, capture_output=True, check=False).returncode == 0:
        for old in base.root.glob("template-*.sql"):
            old.unlink(missing_ok=True)
        # Of two runs that begin at once both migrate, and the dump of either is whole.
        partial.replace(kept)
    partial.unlink(missing_ok=True)


def _fingerprint() -> str:
    """Of all that decides what the migrations make: the code, the packages, PostgreSQL, and the day of the partitions.

    Models and signals have a part in it, and what they import: only the whole code is never too little.
    """
    known = hashlib.sha256(f"{datetime.now(UTC):%F} {os.environ.get('PGSERVER_POSTGRES_VERSION')}".encode())
    rooms = sorted(path.parent for path in CHECKOUT.glob("*/__init__.py") if path.parent.name != "tests")
    for path in [Path(__file__), *(path for room in rooms for path in sorted(room.rglob("*.py")))]:
        known.update(str(path).encode() + path.read_bytes())
    for name in sorted(f"{each.name} {each.version}" for each in distributions()):
        known.update(name.encode())
    return known.hexdigest()[:16]


def _migrate(url: str, environ: MutableMapping[str, str]) -> None:
    migrated = subprocess.run(
        [sys.executable, str(Path(CHECKOUT, "manage.py")), "migrate", "--no-input"],
        env={**environ, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if migrated.returncode != 0:
        raise UpError(f"The migrations fail:\n{migrated.stdout}")
