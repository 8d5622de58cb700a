"""Whose turn it is to compute: of a process's requests in Django one, of whoever has computed least lately.

Python lets all threads that compute go on by turns, of half a millisecond and all alike: with ten requests of one
tenant a request of another one would take eleven times as long, and so would each step of the intake's loop. Here a
request gives its turn away while it waits for PostgreSQL or for anything slow, and waits for the next one afterwards.

It is no lock: who computes for longer than a slice goes on, but beside the next one. See docs/adr/0017.
"""

import asyncio
import heapq
import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from core import bounds

# An owner is an organization, as a number since a UUID hashes in Python, or the address of somebody without a key.
Owner = Hashable
# Who is remembered; those who have used nothing lately need not be.
MAX_OWNERS = 10_000


@dataclass(slots=True)
class _Spent:
    """`seconds` that were computed lately, as of `at`; nothing more before `free_at`."""

    seconds: float = 0.0
    at: float = 0.0
    free_at: float = 0.0


class FairTime:
    """What owners' requests have computed lately. Who has computed much pauses after each one, unless it is alone: the
    more it was, the longer.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent: dict[Owner, _Spent] = {}
        self._newest: Owner = None
        # When somebody other than the newest wanted something last.
        self._others_at = -math.inf

    def note(self, owner: Owner) -> None:
        """Somebody wants something."""
        if owner != self._newest:
            self._others_at = -math.inf if self._newest is None else self._clock()
            self._newest = owner

    def spend(self, owner: Owner, seconds: float) -> None:
        now = self._clock()
        used = min(self.used(owner) + seconds, bounds.SAVED_TIME)
        free_at = self._spent[owner].free_at if owner in self._spent else now
        if not self._is_alone():
            beyond = max(0.0, used - bounds.FREE_TIME) / (bounds.SAVED_TIME - bounds.FREE_TIME)
            pause = seconds * beyond / bounds.TIME_SHARE
            free_at = min(max(free_at, now) + pause, now + bounds.LONGEST_PAUSE_SECONDS)
        self._spent[owner] = _Spent(used, now, free_at)
        if len(self._spent) > MAX_OWNERS:
            self._spent = {key: spent for key, spent in self._spent.items() if self.used(key) > 0}

    def used(self, owner: Owner) -> float:
        """How many seconds it has computed lately; they are forgotten as fast as its share of the time goes by."""
        if (spent := self._spent.get(owner)) is None:
            return 0.0
        return max(0.0, spent.seconds - (self._clock() - spent.at) * bounds.TIME_SHARE)

    def wait(self, owner: Owner) -> float:
        """For how many seconds it should; none or less when it need not."""
        if self._is_alone() or (spent := self._spent.get(owner)) is None:
            return 0.0
        return spent.free_at - self._clock()

    async def pause(self, owner: Owner) -> None:
        """For as long as it should."""
        while (seconds := self.wait(owner)) > 0:
            await asyncio.sleep(seconds)

    def _is_alone(self) -> bool:
        return self._clock() - self._others_at > bounds.ALONE_AFTER_SECONDS


# Of this process.
fair_time = FairTime()


class Turn:
    """Of one request, in its thread.

    `elsewhere`: seconds that others have computed for it. `computed`: its own, until it went on at `since`.
    """

    __slots__ = ("computed", "elsewhere", "gate", "owner", "since")

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.elsewhere = 0.0
        self.computed = 0.0
        self.since = math.inf
        # Open when the turn has come.
        self.gate = threading.Semaphore(0)


class Turns:
    """Of the threads of one process. Those that have not said whose request they work on take part in nothing."""

    def __init__(self, times: FairTime, clock: Callable[[], float] = time.monotonic) -> None:
        self._times = times
        self._clock = clock
        self._lock = threading.Lock()
        self._current = threading.local()
        self._holder: Turn | None = None
        # By what they and their owners have computed, then by their coming.
        self._waiting: list[tuple[float, int, Turn]] = []
        self._numbers = itertools.count()
        # How many statements of each owner run.
        self._asking: Counter[Owner] = Counter()

    @contextmanager
    def computing(self, owner: Owner) -> Iterator[Turn]:
        """What is inside computes for this owner."""
        turn = self._current.turn = Turn(owner)
        self._take(turn)
        try:
            yield turn
        finally:
            self._current.turn = None
            self._give_away(turn)

    def pause(self) -> None:
        """Before a wait. The turn comes again with the next statement."""
        if (turn := getattr(self._current, "turn", None)) is not None:
            self._give_away(turn)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """PostgreSQL works for this one meanwhile, which is charged for what takes longer than FREE_STATEMENT_SECONDS.

        Only for its part where other owners' statements run as well: each of them waits for the others then, and who
        asks little would pay for whoever asks much.
        """
        if (turn := getattr(self._current, "turn", None)) is None:
            yield
            return
        self._give_away(turn)
        with self._lock:
            self._asking[turn.owner] += 1
        began = self._clock()
        try:
            yield
        finally:
            with self._lock:
                others = self._asking.total() - self._asking[turn.owner]
                self._asking[turn.owner] -= 1
                self._asking += Counter()
            turn.elsewhere += max(0.0, self._clock() - began - bounds.FREE_STATEMENT_SECONDS) / (1 + others)
            self._take(turn)

    def charge(self, seconds: float) -> None:
        """Another thread has computed for this one."""
        if (turn := getattr(self._current, "turn", None)) is not None:
            turn.elsewhere += seconds

    def _take(self, turn: Turn) -> None:
        with self._lock:
            if self._holder in (None, turn):
                self._hold(turn)
                return
            heapq.heappush(self._waiting, (self._lately(turn), next(self._numbers), turn))
        deadline = self._clock() + bounds.LONGEST_TURN_WAIT_SECONDS
        while not turn.gate.acquire(timeout=self._slice_before(turn)):
            with self._lock:
                now = self._clock()
                if now >= deadline and self._has_left(turn):
                    turn.since = now
                    return
                if self._holder is not None and now - self._holder.since >= self._slice_before(turn):
                    self._pass_on()

    def _slice_before(self, turn: Turn) -> float:
        """For how long the holder computes alone while this one waits."""
        if (holder := self._holder) is None:
            return bounds.TURN_SECONDS
        if self._lately(turn) <= bounds.FREE_TIME < self._lately(holder):
            return bounds.SHORT_TURN_SECONDS
        left = max(bounds.SHORT_TURN_SECONDS, bounds.TURN_SECONDS - holder.computed)
        return left if turn.computed <= holder.computed + left else bounds.TURN_SECONDS

    def _lately(self, turn: Turn) -> float:
        """What its owner has computed lately, with what this request has: that is charged only when it ends."""
        return self._times.used(turn.owner) + turn.computed

    def _has_left(self, turn: Turn) -> bool:
        """Whether it was still waiting; it does no more."""
        others = [entry for entry in self._waiting if entry[2] is not turn]
        was_waiting = len(others) < len(self._waiting)
        heapq.heapify(others)
        self._waiting = others
        return was_waiting

    def _give_away(self, turn: Turn) -> None:
        with self._lock:
            turn.computed += max(0.0, self._clock() - turn.since)
            turn.since = math.inf
            if self._holder is turn:
                self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            self._hold(turn)
            turn.gate.release()
        else:
            self._holder = None

    def _hold(self, turn: Turn) -> None:
        self._holder, turn.since = turn, self._clock()


# Of this process.
turns = Turns(fair_time)
