"""How much of a process's CPU time each organization may take for what is dear: large bodies, and its schemas.

The limit of events a minute says nothing of their size, and what is refused by it was decoded before.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from django.conf import settings

from core.problems import Problem

# That is saved up at most: a batch of 5 MiB takes 0.1 s to decode, and 0.2 s to check by an ordinary schema.
SAVED_SECONDS = 0.5


class CpuBudget:
    """CPU time by organization: each gets its share of every second, and can save up some. It may be overdrawn."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[UUID, tuple[float, float]] = {}

    def left(self, organization_id: UUID) -> float:
        """Seconds; none or less when they are spent."""
        left, then = self._left.get(organization_id, (SAVED_SECONDS, 0.0))
        return min(SAVED_SECONDS, left + (self._clock() - then) * _share())

    def spend(self, organization_id: UUID, seconds: float) -> None:
        with self._lock:
            self._left[organization_id] = self.left(organization_id) - seconds, self._clock()
            if len(self._left) > 10_000:
                self._left = {key: value for key, value in self._left.items() if self.left(key) < SAVED_SECONDS}

    @contextmanager
    def spending(self, organization_id: UUID, *, overdraft: float = 0.0) -> Iterator[None]:
        """Count what this thread takes inside. Raises Problem 429 when so much is overdrawn already."""
        if self.left(organization_id) <= -overdraft:
            raise self.refusal(organization_id)
        started = time.thread_time()
        try:
            yield
        finally:
            self.spend(organization_id, time.thread_time() - started)

    def refusal(self, organization_id: UUID) -> Problem:
        """429, for when they are spent."""
        return Problem("cpu_time_spent", headers={"Retry-After": str(self.wait(organization_id))})

    def wait(self, organization_id: UUID) -> int:
        """Whole seconds until there is some again, at least one."""
        return max(1, math.ceil(-self.left(organization_id) / _share()))


def _share() -> float:
    return float(settings.ORGANIZATION_CPU_PERCENT) / 100


intake_budget = CpuBudget()
