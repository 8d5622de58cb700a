"""Tell Celery that there is work: a hint that may be lost, sent at most once in a short while."""

import logging
import threading
import time
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)
# One wake-up drains everything that waits, so more of them within this time would only fill the broker.
PAUSE_SECONDS = 0.05
# While the broker is away nobody waits for it; beat's sweep does the work when it is back.
PAUSE_AFTER_FAILURE_SECONDS = 5.0
# How long RabbitMQ may take to confirm one; Redis confirms nothing.
CONFIRM_SECONDS = 2.0


class Waker:
    """Sends wake-ups for one task from a thread of its own, so that a broker that hangs holds up no request."""

    def __init__(self, task: str, *, queue: str | None = None, **arguments: Any) -> None:
        self._task = task
        self._queue = queue
        self._arguments = arguments
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def arguments(self) -> dict[str, Any]:
        """Those of the next wake-up; asked for when it is sent."""
        return self._arguments

    def wake(self) -> None:
        """Returns at once; the wake-up follows."""
        if not self._wanted.is_set():
            self._wanted.set()
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():  # none yet, or lost in a fork
                self._thread = threading.Thread(target=self._run, name="wake-ups", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            time.sleep(PAUSE_SECONDS if self.send() else PAUSE_AFTER_FAILURE_SECONDS)

    def send(self) -> bool:
        """Whether the broker took it; never raises for a broker that is away."""
        try:
            current_app.send_task(
                self._task,
                kwargs=self.arguments(),
                queue=self._queue,
                expires=60,
                confirm_timeout=CONFIRM_SECONDS,
            )
        except (OperationalError, RedisError, OSError) as error:
            logger.warning("a wake-up was not sent, the sweep will do its work: %s", type(error).__name__)
            return False
        return True


_waker = Waker("ingestion.process_outbox", settle=True)


def wake_processing() -> None:
    """Call after the commit."""
    _waker.wake()
