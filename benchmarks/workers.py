"""The Celery workers under test, of both builds, and the messages that set them to work."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celery import Celery

from benchmarks.lab import Lab
from benchmarks.servers import running
from benchmarks.targets import Target
from events_platform.up import programs
from events_platform.up.child import Child, Program
from installation.local.data_dir import CHECKOUT
from installation.local.errors import UpError

PROCESSING, SENDING = "ingestion.process_outbox", "delivery.send_due"
TEXTBOOK_EVENTS, TEXTBOOK_DELIVERIES = "celery", "deliveries"
QUEUES = {PROCESSING: "events", SENDING: "deliveries"}
# What is awaited is seen this much later, of several seconds.
POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 180.0
# A worker that still waits for an endpoint that hangs need not be waited for.
_STOP_SECONDS = 3.0


@contextmanager
def our_worker(lab: Lab, target: Target, *, processes: int) -> Iterator[Child]:
    """The worker that processes events, as `make run` starts it."""
    program = programs.worker({**target.environment, "WORKER_CONCURRENCY": str(processes)})
    with running(lab, program, stop_seconds=_STOP_SECONDS) as child:
        yield child


@contextmanager
def our_sender(lab: Lab, target: Target) -> Iterator[Child]:
    """The worker that sends webhooks, as `make run` starts it: one process."""
    with running(lab, programs.sender(target.environment), stop_seconds=_STOP_SECONDS) as child:
        yield child


@contextmanager
def our_beat(lab: Lab, target: Target) -> Iterator[Child]:
    with running(lab, programs.beat(target.environment)) as child:
        yield child


@contextmanager
def textbook_worker(lab: Lab, target: Target, *, queue: str) -> Iterator[Child]:
    """The textbook's worker of one queue: one process, as one task at a time is what is compared."""
    options = ("--queues", queue, "--concurrency", "1", "--loglevel", "WARNING", "--hostname", f"{queue}@%h")
    program = Program(
        name=f"textbook-{queue}",
        command=(sys.executable, "-m", "celery", "-A", "benchmarks.textbook.celery:app", "worker", *options),
        environment=target.environment,
        folder=CHECKOUT,
    )
    with running(lab, program, stop_seconds=_STOP_SECONDS) as child:
        yield child


def wake(target: Target, task: str) -> None:
    """Send a worker of ours the message that the web server, the processing or beat would send it."""
    with Celery(broker=target.environment["CELERY_BROKER_URL"]) as app:
        app.send_task(task, queue=QUEUES[task], ignore_result=True)


def wait_until(holds: Callable[[], bool], *, what: str, seconds: float = _PATIENCE_SECONDS) -> None:
    """Poll until it holds; an UpError that says `what` was awaited after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise UpError(f"Waited {seconds:.0f} s in vain until {what}.")
        time.sleep(POLL_SECONDS)
