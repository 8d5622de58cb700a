"""Ends a worker, a sender or beat that makes no progress though it could, so that its supervisor starts it again.

What is looked at is progress, not a fault: whatever makes a process stand still, known or not, is over after half a
minute. A broker that is away is no reason to end, for a restart brings it no nearer.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from celery import Celery
from celery.signals import after_task_publish, worker_shutting_down
from celery.worker import state
from django.conf import settings

from core.broker.wakeup import Waker, queue_length

logger = logging.getLogger(__name__)
LOOK_SECONDS = 5.0
# Looks in a row, not seconds: whoever was stopped for a minute, like its whole machine, has seen one of them.
WORKER_LOOKS = 6
BEAT_LOOKS = 12
# A warm shutdown lets the tasks that do run end. One that stands still may not even get as far as that.
_GRACE_SECONDS = 10.0
_CONNECT_SECONDS = 2


class Watchdog:
    """Looks every few seconds, in a thread of its own, and ends the process after `looks` without progress in a row."""

    def __init__(self, stuck: Callable[[], str | None], *, looks: int, pause: float = LOOK_SECONDS) -> None:
        """`stuck` says why there is no progress, None when there is some, or nothing to do."""
        self._stuck = stuck
        self._looks = looks
        self._pause = pause
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self, **_: Any) -> None:
        self._stopped.set()

    def _run(self) -> None:
        show_life()
        in_a_row = 0
        while not self._stopped.wait(self._pause):
            try:
                reason = self._stuck()
            except Exception:  # a fault of the looking is no sign of anything, and must not end it
                logger.exception("the watchdog could not look")
                reason = None
            in_a_row = in_a_row + 1 if reason else 0
            if reason is None:
                show_life()
            elif in_a_row == self._looks:
                end_process(reason)


class WorkerProgress:
    """Whether a worker's parent takes the messages that wait, as long as one of its processes has nothing to do."""

    def __init__(self, consumer: Any) -> None:
        self._hub = consumer.hub
        self._app: Celery = consumer.app
        self._processes: int = consumer.controller.concurrency
        self._queues = tuple(consumer.app.amqp.queues.consume_from)
        self._turned = threading.Event()
        self._turned.set()
        self._begun = -1

    def stuck(self) -> str | None:
        turned, begun = self._turned.is_set(), state.all_total_count[0]
        moved = begun != self._begun or len(state.active_requests) >= self._processes
        self._begun = begun
        self._turned.clear()
        self._hub.call_soon(self._turned.set)
        if turned and moved:
            return None
        waiting = messages_waiting(self._app, self._queues)
        if waiting is None or (turned and not waiting):
            return None
        if not turned:
            return "its event loop does not turn though the broker answers"
        return f"{waiting} messages wait and it takes none though it has a free process"


class BeatProgress:
    """Whether beat sends, as long as the broker takes what is sent."""

    def __init__(self) -> None:
        self._sent = self._seen = 0
        self._waker = Waker("ingestion.process_outbox")

    def count(self, **_: Any) -> None:
        self._sent += 1

    def stuck(self) -> str | None:
        sent, self._seen = self._sent != self._seen, self._sent
        if sent or not self._waker.send():
            return None
        self._seen = self._sent  # with what was sent just now
        return "it sends nothing though the broker takes messages"


def watch_worker(consumer: Any) -> None:
    """In the parent, once it is ready. `consumer` is Celery's."""
    watchdog = Watchdog(WorkerProgress(consumer).stuck, looks=WORKER_LOOKS)
    worker_shutting_down.connect(watchdog.stop, weak=False)
    watchdog.start()


def watch_beat() -> None:
    """In the process that is beat."""
    progress = BeatProgress()
    after_task_publish.connect(progress.count, weak=False)
    Watchdog(progress.stuck, looks=BEAT_LOOKS).start()


def messages_waiting(app: Celery, queues: Collection[str]) -> int | None:
    """In these queues; None when the broker does not tell. By a new connection, as a worker's next one would be."""
    try:
        with app.connection_for_read(connect_timeout=_CONNECT_SECONDS) as broker:
            broker.ensure_connection(max_retries=1, interval_start=0, timeout=_CONNECT_SECONDS)
            return sum(queue_length(broker, queue) for queue in queues)
    except Exception as error:  # noqa: BLE001 - of each broker another one, and each means the same
        logger.info("the broker does not tell what waits: %s", type(error).__name__)
        return None


def show_life() -> None:
    """Touch the file that tells a container's supervisor of progress."""
    if settings.LIVENESS_FILE:
        with suppress(OSError):
            Path(settings.LIVENESS_FILE).touch()


def end_process(reason: str) -> None:
    """By asking it to end, and soon after by ending it, with its children. The rest is its supervisor's."""
    # First: what follows may wait for a lock that nobody gives back.
    ending = threading.Timer(_GRACE_SECONDS, _kill)
    ending.daemon = True
    ending.start()
    logger.critical("this process makes no progress and ends, so that it is started again: %s", reason)
    os.kill(os.getpid(), signal.SIGTERM)


def _kill() -> None:
    with suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    os._exit(1)
