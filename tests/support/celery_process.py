"""Processes of Celery, of which nothing is left when the test has ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from uuid_utils.compat import uuid7

from installation.local.data_dir import CHECKOUT
from tests.support.servers import test_database_url

ENVIRONMENT = {
    "WEBHOOK_ALLOW_HTTP": "true",
    "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32",
    "WEBHOOK_RETRY_SCHEDULE": "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
    "WEBHOOK_TIMEOUT_SECONDS": "2",
}


@contextmanager
def celery_process(command: Sequence[str], **environ: str) -> Iterator["subprocess.Popen[str]"]:
    """Its output is for the test to read; `environ` is added to its environment."""
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextmanager
def worker(**environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real Celery worker on this test's database, with beat inside for the sweep; killed at the end."""
    schedule = f"{os.environ['EVENTS_DATA_DIR']}/beat-{uuid7()}"
    command = [sys.executable, "-m", "celery", "-A", "events_platform", "worker", "-B", "-s", schedule]
    command += ["--concurrency=2", "--without-gossip", "--without-mingle"]
    process = subprocess.Popen(
        command, env={**os.environ, "DATABASE_URL": test_database_url(), **environ}, start_new_session=True
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def watched_celery(before: str, *arguments: str, **environ: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    """The process whose watchdog looks more often than every five seconds; `before` is Python that it runs first."""
    hurry = "from core.broker.watchdog import Watchdog\nWatchdog.__init__.__kwdefaults__['pause'] = 0.2\n"
    program = f"{hurry}{before}\nfrom celery.bin.celery import main\nmain()"
    command = [sys.executable, "-c", program, "--quiet", "-A", "events_platform", *arguments, "--loglevel", "WARNING"]
    return celery_process(command, **environ)


class Workers:
    """Both Celery workers and beat, as the platform runs them; `environ` is added to their environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        schedule = f"{os.environ['EVENTS_DATA_DIR']}/beat-{uuid7()}"
        celery = [sys.executable, "-m", "celery", "-A", "events_platform", "--quiet"]
        options = ["--concurrency=1", "--without-gossip", "--without-mingle", "--loglevel=WARNING"]
        commands = [
            [*celery, "worker", "--queues=events", "--hostname=events@%h", "-B", "-s", schedule, *options],
            [*celery, "worker", "--queues=deliveries", "--hostname=deliveries@%h", *options],
        ]
        environment = {**os.environ, **ENVIRONMENT, "DATABASE_URL": test_database_url(), **self._environ}
        self._processes = [
            subprocess.Popen(command, cwd=CHECKOUT, env=environment, start_new_session=True) for command in commands
        ]

    def kill(self) -> None:
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes = []


@contextmanager
def workers(**environ: str) -> Iterator[Workers]:
    running = Workers(environ)
    running.start()
    try:
        yield running
    finally:
        running.kill()
