"""What all requests of a process have at once, and what one owner has of it.

An owner is an organization, as a number since a UUID hashes in Python, or the address of somebody without a key.
"""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

from core import bounds
from core.problems import Problem
from core.turns import MAX_OWNERS, FairTime, Owner


class TooMuchError(Exception):
    """`is_ours`: the platform is busy with others (503); otherwise it is the owner's own share (429)."""

    def __init__(self, *, is_ours: bool) -> None:
        self.is_ours = is_ours
        super().__init__("too much of this goes on at once")


class Budget:
    """Bytes, or pieces of anything: `total` of all, `share` of one owner. Who comes when it is full waits nowhere.

    Good in any thread; an owner who has nothing takes no memory.
    """

    def __init__(self, *, share: int, total: float = math.inf) -> None:
        self.used = 0
        self._total = total
        self._share = share
        self._of: dict[Owner, int] = {}
        # Garbage collection may give something back in the midst of it.
        self._lock = threading.RLock()

    def take(self, owner: Owner, size: int = 1) -> None:
        """Raises TooMuchError when it is too much, and then takes nothing."""
        with self._lock:
            own = self._of.get(owner, 0) + size
            if self.used + size > self._total:
                raise TooMuchError(is_ours=True)
            if own > self._share:
                raise TooMuchError(is_ours=False)
            self.used += size
            self._of[owner] = own

    def try_take(self, owner: Owner, size: int = 1) -> bool:
        """Whether it was taken."""
        try:
            self.take(owner, size)
        except TooMuchError:
            return False
        return True

    def give_back(self, owner: Owner, size: int = 1) -> None:
        with self._lock:
            self.used -= size
            left = self._of[owner] - size
            if left:
                self._of[owner] = left
            else:
                del self._of[owner]

    @contextmanager
    def hold(self, owner: Owner = None, size: int = 1) -> Iterator[None]:
        """Raises TooMuchError."""
        self.take(owner, size)
        try:
            yield
        finally:
            self.give_back(owner, size)


class Held:
    """One piece of a budget for `owner`, until it is given back or nobody has this object any more.

    For what may end in many ways, such as an answer whose client goes away before it begins.
    """

    def __init__(self, budget: Budget, owner: Owner) -> None:
        self.owner = owner
        self.is_held = False
        self._budget = budget

    def require(self) -> None:
        """Raises TooMuchError when there are too many, of all or of the owner's."""
        if not self.is_held:
            self._budget.take(self.owner)
            self.is_held = True

    def take(self) -> bool:
        """Whether it is held now."""
        with suppress(TooMuchError):
            self.require()
        return self.is_held

    def give_back(self) -> None:
        """Also when it is not held."""
        if self.is_held:
            self.is_held = False
            self._budget.give_back(self.owner)

    __del__ = give_back


class RefusalPace:
    """Who is refused again and again gets its answers later and later, so that it comes back no faster."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # When all answers will have had their turn.
        self._due: dict[Owner, float] = {}

    async def keep(self, owner: Owner) -> None:
        """Before a refusal is answered."""
        if (seconds := self.wait(owner)) > 0:
            await asyncio.sleep(seconds)

    def wait(self, owner: Owner) -> float:
        """For how many seconds the next refusal should wait; none or less when it need not."""
        now = self._clock()
        due = max(now, self._due.get(owner, now)) + 1 / bounds.REFUSALS_A_SECOND
        seconds = due - now - bounds.REFUSALS_AT_ONCE / bounds.REFUSALS_A_SECOND
        if seconds > bounds.REFUSAL_WAIT_SECONDS:
            return bounds.REFUSAL_WAIT_SECONDS
        self._due[owner] = due
        if len(self._due) > MAX_OWNERS:
            self._due = {key: due for key, due in self._due.items() if due > now}
        return seconds


class _Queue:
    """Of one owner: those who work, and those who wait."""

    def __init__(self, share: int) -> None:
        self.places = asyncio.Semaphore(share)
        self.length = 0


class Places:
    """Requests that are worked on: `total` at once, `share` of one owner, whose others wait behind these alone.

    Of one event loop. Who has computed too much waits among its own, too.
    """

    def __init__(self, *, total: int, share: int, fair_time: FairTime | None = None) -> None:
        self._places = asyncio.Semaphore(total)
        self._time = fair_time or FairTime()
        self._share = share
        self._queues: dict[Owner, _Queue] = {}

    @asynccontextmanager
    async def place(
        self, owner: Owner, *, most_waiting: int | None = None, seconds: float | None = None
    ) -> AsyncIterator[ExitStack]:
        """Closing what this gives makes room for the next one's request, and keeps the owner's others behind this one.

        Raises Problem 503 when too many wait already, or it takes too long: MAX_WAITING, WAITING_SECONDS.
        """
        queue = self._queues.setdefault(owner, _Queue(self._share))
        if queue.length >= self._share + (most_waiting or bounds.MAX_WAITING):
            raise busy("Too many requests wait")
        queue.length += 1
        try:
            await self._enter(queue, owner, seconds or bounds.WAITING_SECONDS)
            try:
                with ExitStack() as of_all:
                    of_all.callback(self._places.release)
                    yield of_all
            finally:
                queue.places.release()
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[owner]

    async def _enter(self, queue: _Queue, owner: Owner, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await queue.places.acquire()
                try:
                    await self._time.pause(owner)
                    await self._places.acquire()
                except BaseException:
                    queue.places.release()
                    raise
        except TimeoutError as error:
            raise busy("Too many requests wait") from error


def busy(reason: str) -> Problem:
    return Problem(
        "service_unavailable",
        f"{reason} at this moment. Nothing was done or acknowledged; try again.",
        headers={"Retry-After": "1"},
    )
