"""Tell whoever takes deliveries that some are due: hints that may be lost.

Senders learn of them through Celery, and beat's sweep finds what was lost. Consumers that wait do so in a web process,
which Redis tells by its channels, whatever the broker is; it looks once a second for what was lost.
"""

import json
import logging
import threading
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django_redis import get_redis_connection
from redis.exceptions import RedisError

from core.broker.wakeup import Waker

logger = logging.getLogger(__name__)
# A wake-up that names more would be long; the sender, or the web process, looks for itself then.
MOST_NAMED = 500
# Its messages are JSON: the ids of inboxes that have something to lease, or none when it may be any.
INBOX_CHANNEL = "inboxes-due"


class _SendingWaker(Waker):
    """Its wake-ups name the subscriptions, so that the sender need not look through all there are."""

    def __init__(self) -> None:
        super().__init__("delivery.send_due", queue="deliveries")
        self._guard = threading.Lock()
        self._due: set[tuple[UUID, UUID]] = set()
        self._of_any = False

    def add(self, due: Iterable[tuple[UUID, UUID]] | None) -> None:
        with self._guard:
            if due is None:
                self._of_any = True
            else:
                self._due.update(due)

    def arguments(self) -> dict[str, Any]:
        with self._guard:
            due, of_any = self._due, self._of_any or len(self._due) > MOST_NAMED
            self._due, self._of_any = set(), False
        return {} if of_any else {"due": [[str(organization), str(pk)] for organization, pk in sorted(due)]}


class _ConsumerWaker(Waker):
    """Publishes on a channel instead, so that each web process hears it."""

    def __init__(self) -> None:
        super().__init__(INBOX_CHANNEL)
        self._guard = threading.Lock()
        self._inboxes: set[UUID] = set()

    def add(self, inboxes: Iterable[UUID]) -> None:
        with self._guard:
            self._inboxes.update(inboxes)

    def send(self) -> bool:
        with self._guard:
            named, self._inboxes = self._inboxes, set()
        message = json.dumps([str(pk) for pk in named] if len(named) <= MOST_NAMED else [])
        try:
            get_redis_connection("default").publish(INBOX_CHANNEL, message)
        except (RedisError, OSError) as error:
            logger.warning("waiting consumers were not told, they look for themselves: %s", type(error).__name__)
            return False
        return True


_waker = _SendingWaker()
_consumer_waker = _ConsumerWaker()


def wake_sending(due: Iterable[tuple[UUID, UUID]] | None = None) -> None:
    """Call after the commit. Returns at once. `due`: organization and subscription of what is due; None is any."""
    _waker.add(due)
    _waker.wake()


def wake_consumers(inboxes: Iterable[UUID]) -> None:
    """Call after the commit. Returns at once. These inboxes have something to lease."""
    _consumer_waker.add(inboxes)
    _consumer_waker.wake()
