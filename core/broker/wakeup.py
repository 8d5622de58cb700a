"""Tell Celery that there is work: a hint that may be lost, sent at most once in a short while."""

import logging
import threading
import time
from typing import Any

from celery import current_app
from kombu.exceptions import ChannelError, OperationalError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)
# Of a broker that is away, or refuses: a full Redis is a ChannelError.
BROKER_ERRORS = (OperationalError, ChannelError, RedisError, OSError)
# One wake-up drains everything that waits, so more of them within this time would only fill the broker.
SHORTEST_PAUSE_SECONDS = 0.03
# What is asked for often comes in larger portions: a pause is so much longer for each who asks in a second.
_PAUSE_PER_RATE = 0.001
LONGEST_PAUSE_SECONDS = 0.2
# While the broker is away nobody waits for it; beat's sweep does the work when it is back.
PAUSE_AFTER_FAILURE_SECONDS = 5.0
# How long RabbitMQ may take to confirm one; Redis confirms nothing.
CONFIRM_SECONDS = 2.0
# The header of a message that is a hint: one that may be lost, as another one will do its work. Its value is how many
# messages may wait in a Redis queue already: beyond, the hint is dropped.
MOST_WAITING = "most-waiting"
# Wake-ups come often: so few that they do not crowd out beat's.
_MOST_WAKE_UPS = 10
_MOST_SWEEPS = 100


def hint(*, seconds: float, most_waiting: int = _MOST_SWEEPS) -> dict[str, Any]:
    """Options for Celery's messages: old ones do not pile up while no worker runs.

    RabbitMQ counts the seconds, Redis the messages: both bounds hold whatever the hosts' clocks say. Celery's own
    `expires` is a time by the sender's clock, and a worker whose clock is ahead would discard everything, silently.
    """
    return {"expiration": seconds, "headers": {MOST_WAITING: most_waiting}}


class Waker:
    """Sends wake-ups for one task from a thread of its own, so that a broker that hangs holds up no request."""

    def __init__(self, task: str, *, queue: str | None = None, **arguments: Any) -> None:
        self._task = task
        self._queue = queue
        self._arguments = arguments
        self._wanted = threading.Event()
        self._wishes = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def arguments(self) -> dict[str, Any]:
        """Those of the next wake-up; asked for when it is sent."""
        return self._arguments

    def wake(self) -> None:
        """Returns at once; the wake-up follows."""
        self._wishes += 1  # about: threads that come at once may count as one
        if not self._wanted.is_set():
            self._wanted.set()
            with self._lock:
                if self._thread is None or not self._thread.is_alive():  # none yet, or lost in a fork
                    self._thread = threading.Thread(target=self._run, name="wake-ups", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        sent_at = 0.0
        while True:
            self._wanted.wait()
            self._wanted.clear()
            wishes, self._wishes = self._wishes, 0
            before, sent_at = sent_at, time.monotonic()
            pause = pause_for(wishes / (sent_at - before))
            time.sleep(pause if self.send() else PAUSE_AFTER_FAILURE_SECONDS)

    def send(self) -> bool:
        """Whether the broker took it; never raises for a broker that is away."""
        try:
            current_app.send_task(
                self._task,
                kwargs=self.arguments(),
                queue=self._queue,
                confirm_timeout=CONFIRM_SECONDS,
                **hint(seconds=60, most_waiting=_MOST_WAKE_UPS),
            )
        except BROKER_ERRORS as error:
            logger.warning("a wake-up was not sent, the sweep will do its work: %s", type(error).__name__)
            return False
        return True


def pause_for(rate: float) -> float:
    """Seconds until the next wake-up, when so many ask for one in a second."""
    return min(max(SHORTEST_PAUSE_SECONDS, rate * _PAUSE_PER_RATE), LONGEST_PAUSE_SECONDS)


def queue_length(broker: Any, queue: str) -> int:
    """An empty list does not exist in Redis, and a queue of RabbitMQ does not before its first worker."""
    try:
        with broker.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)
    except ChannelError:
        return 0
