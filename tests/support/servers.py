"""A really running web server on the database and the Redis of the test that asks for it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from django.db import connection
from psycopg.conninfo import make_conninfo

from installation.local.data_dir import CHECKOUT

_START_SECONDS = 60
_STOP_SECONDS = 20
_COMMANDS = {
    "asgi": ["events_platform.asgi:application"],
    "wsgi": ["-k", "gthread", "--threads", "8", "events_platform.wsgi:application"],
}


@dataclass(frozen=True, kw_only=True)
class Server:
    """`process` is gunicorn's master, the leader of a session of its own."""

    base_url: str
    process: "subprocess.Popen[bytes]"


@contextmanager
def serve(
    kind: Literal["asgi", "wsgi"] = "asgi",
    *,
    workers: int = 2,
    log: IO[bytes] | None = None,
    checkout: Path = CHECKOUT,
    **environ: str,
) -> Iterator[Server]:
    """gunicorn, answering on a free port of 127.0.0.1; `environ` is added to its environment, `log` takes its output.

    It reads what the test has committed, so the test needs `django_db(transaction=True)`.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", "--workers", str(workers)]
        process = subprocess.Popen(
            [*command, *_COMMANDS[kind]],
            cwd=checkout,
            env={**os.environ, "DATABASE_URL": test_database_url(), **environ},
            pass_fds=[listener.fileno()],
            start_new_session=True,
            stdout=log,
            stderr=log,
        )
    # From here on only the server holds the socket: when it is dead, connections are refused.
    try:
        _wait_until_live(process, f"http://127.0.0.1:{port}")
        yield Server(base_url=f"http://127.0.0.1:{port}", process=process)
    finally:
        _stop(process)


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_database_url() -> str:
    """The database of this pytest worker, for other processes."""
    settings = connection.settings_dict
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    return make_conninfo(**{name: settings[key] for name, key in names.items() if settings[key]})


test_database_url.__test__ = False  # type: ignore[attr-defined]


def _wait_until_live(process: "subprocess.Popen[bytes]", base_url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended at once"
        with suppress(urllib.error.URLError, OSError):
            with urllib.request.urlopen(f"{base_url}/health/live", timeout=5) as answer:
                assert answer.status == 200
            return
        time.sleep(0.05)
    raise AssertionError("the server does not answer")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Gracefully at first, so that coverage is written; then whatever is left of its session."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
