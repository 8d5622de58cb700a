"""The programs of the platform: how each is started and stopped."""

import sys
from collections.abc import Mapping

from events_platform.up.child import Program
from installation.local.data_dir import CHECKOUT

# gunicorn lets requests in flight finish for 30 seconds (gunicorn.conf.py); then it needs a moment itself.
_WEB_STOP_SECONDS = 35.0
# Tasks are short; what is cut off after this runs again, for a task may run twice.
_WORKER_STOP_SECONDS = 30.0
# Celery warns of root at every start, for fear of pickled tasks, which are not accepted here.
_CELERY = (sys.executable, "-W", "ignore:You're running the worker", "-m", "celery", "--quiet")
# Whoever sends an event or looks at a page waits for the web server; nobody waits for these while the machine is busy.
_BEHIND_WEB = 5
_APPLICATION = ("-A", "events_platform")


def web(environment: Mapping[str, str]) -> Program:
    """The web server, on `HOST` and `PORT` of the environment."""
    configuration = str(CHECKOUT / "gunicorn.conf.py")
    return Program(
        name="web",
        command=(sys.executable, "-m", "gunicorn", "-c", configuration, "events_platform.asgi:application"),
        environment=environment,
        folder=CHECKOUT,
        stop_seconds=_WEB_STOP_SECONDS,
    )


def worker(environment: Mapping[str, str]) -> Program:
    """The Celery worker that processes events, with as many processes as WORKER_CONCURRENCY says."""
    return _worker("worker", "events", (), environment)


def sender(environment: Mapping[str, str]) -> Program:
    """The Celery worker that sends webhooks: one process, as it sends hundreds at once."""
    return _worker("sender", "deliveries", ("--concurrency", "1"), environment)


def _worker(name: str, queue: str, processes: tuple[str, ...], environment: Mapping[str, str]) -> Program:
    # Nobody watches these workers by Celery's own means, so they need not tell each other about themselves.
    options = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")
    return Program(
        name=name,
        command=(
            *_CELERY,
            *_APPLICATION,
            "worker",
            "--hostname",
            f"{name}@%h",
            "--queues",
            queue,
            *processes,
            *options,
        ),
        environment=environment,
        folder=CHECKOUT,
        stop_seconds=_WORKER_STOP_SECONDS,
        niceness=_BEHIND_WEB,
    )


def beat(environment: Mapping[str, str]) -> Program:
    """Celery's clock."""
    return Program(
        name="beat",
        command=(
            *_CELERY,
            *_APPLICATION,
            "beat",
            "--pidfile",
            "",
            "--loglevel",
            "WARNING",
        ),
        environment=environment,
        folder=CHECKOUT,
        niceness=_BEHIND_WEB,
    )


def management_command(name: str, *arguments: str) -> tuple[str, ...]:
    """The command line of a management command in a process of its own."""
    return (sys.executable, str(CHECKOUT / "manage.py"), name, *arguments)
