"""The servers under every benchmark: a PostgreSQL and a Valkey of its own, with the settings of `make run`.

They never are those that `DATABASE_URL` and `REDIS_URL` name, for benchmarks empty tables.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from events_platform.up.configuration import SETTINGS_MODULE
from events_platform.up.embedded import EmbeddedServers, server_urls
from events_platform.up.output import Output
from events_platform.up.postgres import create_database, database_url
from events_platform.up.valkey import broker_url, redis_url
from installation.local.data_dir import CHECKOUT, DataDir
from installation.local.errors import UpError

_NAMED_SERVERS = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL")


@dataclass(frozen=True, kw_only=True)
class Lab:
    """The running servers; `environ` is that of the caller without the names of other servers."""

    data: DataDir
    output: Output
    environ: Mapping[str, str]

    def platform_environment(self) -> dict[str, str]:
        """The environment of the platform's processes, as `make run` would set it."""
        return {
            **self.environ,
            **server_urls(self.data, self.environ),
            "DJANGO_SETTINGS_MODULE": SETTINGS_MODULE,
            "EVENTS_DATA_DIR": str(self.data.root),
            "SECRET_KEY": secrets.token_urlsafe(50),
            "PUBLIC_URL": "http://127.0.0.1:8000",
            "HOST": "127.0.0.1",
            "PYTHONUNBUFFERED": "1",
        }

    def reference_environment(self, *, database: str, settings: str, first_redis: int) -> dict[str, str]:
        """The environment of another Django project on the same servers, in a database of its own.

        It gets the Redis databases `first_redis` for its cache and the next one for its broker.
        """
        create_database(self.data, database)
        return {
            **self.environ,
            "DJANGO_SETTINGS_MODULE": settings,
            "DATABASE_URL": database_url(self.data, database),
            "REDIS_URL": redis_url(self.data, first_redis),
            "CELERY_BROKER_URL": broker_url(redis_url(self.data), first_redis + 1),
            "SECRET_KEY": secrets.token_urlsafe(50),
            "PYTHONUNBUFFERED": "1",
        }

    def run(
        self, *arguments: str, environment: Mapping[str, str], stdin: str = "", shows_progress: bool = False
    ) -> str:
        """Run Python with `arguments` in the checkout, and return what it prints; an UpError when it fails.

        `shows_progress`: what it writes to standard error is for people to see.
        """
        done = subprocess.run(
            [sys.executable, *arguments],
            env=dict(environment),
            cwd=CHECKOUT,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=None if shows_progress else subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise UpError(f"`python {' '.join(arguments)}` failed:\n{done.stdout}{done.stderr or ''}")
        return done.stdout


@contextmanager
def running_lab(keep: Path | None = None) -> Iterator[Lab]:
    """Start the servers in a folder of the data folder; at the end stop them and remove it.

    With `keep` they run in that folder, which stays for the next time.
    """
    with empty_lab(keep) as lab, lab.data.locked():
        servers = EmbeddedServers(lab.data, lab.output, lab.environ)
        try:
            servers.start()
            yield lab
        finally:
            servers.stop()


@contextmanager
def empty_lab(keep: Path | None = None) -> Iterator[Lab]:
    """The same folder without servers: for what starts its own in it."""
    environ = {name: value for name, value in os.environ.items() if name not in _NAMED_SERVERS}
    base = DataDir.from_environment(environ)
    base.make()
    output = Output(os.open(os.devnull, os.O_WRONLY))
    _sweep(base, output)
    data = DataDir(keep.expanduser().resolve() if keep else base.root / f"benchmark-{os.getpid()}")
    data.make()
    try:
        yield Lab(data=data, output=output, environ=environ)
    finally:
        if keep is None:
            shutil.rmtree(data.root, ignore_errors=True)


def _sweep(base: DataDir, output: Output) -> None:
    """Remove what killed runs left behind."""
    for root in base.root.glob("benchmark-*"):
        data = DataDir(Path(root))
        if root.is_dir() and not data.in_use():
            EmbeddedServers(data, output, {}).end_leftovers()
            shutil.rmtree(root, ignore_errors=True)
