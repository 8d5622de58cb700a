"""Tell Celery that deliveries are due: a hint that may be lost; beat's sweep finds what it lost."""

import threading
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from core.broker.wakeup import Waker

# A wake-up that names more would be long; the sender looks for itself then.
MOST_NAMED = 500


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


_waker = _SendingWaker()


def wake_sending(due: Iterable[tuple[UUID, UUID]] | None = None) -> None:
    """Call after the commit. Returns at once. `due`: organization and subscription of what is due; None is any."""
    _waker.add(due)
    _waker.wake()
