"""Consuming an inbox: leasing, handling, acknowledging, and stopping without leaving anything behind."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from events_client.errors import NotReachableError, ProblemError
from events_client.retrying import RETRIED_STATUSES, Retrying
from events_client.shapes import InboxEvent, Lease

if TYPE_CHECKING:
    from events_client.resources.inboxes import AsyncInbox

logger = logging.getLogger("events_client")

RetryDelay = float | Callable[[InboxEvent], float]
WAIT_SECONDS = 20
MAX_OUTSTANDING = 1000
_EMPTY_SECONDS = 1.0
_LEASE_GRACE_SECONDS = 1.0
# What is leased ahead is handled within about this time, so that other consumers get their share.
_AHEAD_SECONDS = 0.5
_LONGEST_DELAY = 60.0


def retry_delay(event: InboxEvent) -> float:
    """How long an event rests after its handler failed, in seconds: 1, 2, 4 … 60, and up to a fifth more."""
    return float(min(2 ** (event.leases - 1), _LONGEST_DELAY) * random.uniform(1.0, 1.2))  # noqa: S311


class _Held:
    """A lease: until when it is sure to last, by this machine's clock, and which of its events are not settled.

    Once the platform said that it is over, it is `lost`.
    """

    def __init__(self, lease_id: str, ends: float, event_ids: set[str]) -> None:
        self.lease_id = lease_id
        self.ends = ends
        self.open = event_ids
        self.lost = False

    def lasts(self) -> bool:
        return time.monotonic() < self.ends


class Consuming:
    """One consumer of an inbox.

    An event whose handler returns is acknowledged. One whose handler raises is given back after `retry_delay`, a
    number of seconds or a function of the event; the inbox makes a dead letter of what was leased too often. While a
    handler runs, its lease is extended. A handler may get an event again, after a crash, or when the platform was away
    for longer than `lease_seconds`: `event.leases` is then over 1. What it does should be safe to do twice.

    It ends at SIGTERM and SIGINT when it runs in the main thread, and with `until_empty` when nothing is left: handlers
    that run get `stop_seconds` to end, and what was leased but not begun is given back at once. It waits as long as it
    takes while the platform cannot be reached; it raises ProblemError when the key or the inbox is no good.
    """

    def __init__(
        self,
        inbox: AsyncInbox,
        handler: Callable[[InboxEvent], Any],
        *,
        concurrency: int = 1,
        lease_seconds: int = 30,
        retry_delay: RetryDelay = retry_delay,
        stop_seconds: float = 30.0,
        until_empty: bool = False,
        in_threads: bool = False,
    ) -> None:
        if not 1 <= concurrency <= MAX_OUTSTANDING:
            raise ValueError(f"concurrency is 1 to {MAX_OUTSTANDING}")
        self._inbox = inbox
        self._handler = handler
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._retry_delay = retry_delay
        self._stop_seconds = stop_seconds
        self._until_empty = until_empty
        self._executor = ThreadPoolExecutor(concurrency, "events-handler") if in_threads else None
        self._wait_seconds = 0 if until_empty else WAIT_SECONDS
        self._ahead = concurrency
        self._held: dict[str, _Held] = {}
        self._acks: list[tuple[_Held, str]] = []
        self._nacks: list[tuple[_Held, str]] = []
        self._resting: dict[str, tuple[asyncio.TimerHandle, _Held]] = {}
        self._running = 0

    async def consume(self) -> None:
        """Consume until it is stopped."""
        self._queue: asyncio.Queue[tuple[_Held, InboxEvent]] = asyncio.Queue()
        self._stop, self._progress, self._to_settle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        feeding = asyncio.create_task(self._feed())
        working = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        keeping, settling = asyncio.create_task(self._keep()), asyncio.create_task(self._settle())
        stopping = asyncio.create_task(self._stop.wait())
        tasks = [stopping, feeding, keeping, settling, *working]
        with _stopped_by_signals(self._stop.set):
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await self._wind_down(feeding, settling)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                if self._executor:
                    self._executor.shutdown(wait=False)
        for task in done:
            task.result()

    # --- Taking ------------------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        """Lease whenever there is room, until it is to stop, or until nothing is left if that is wanted."""
        retrying = Retrying(float("inf"))
        while True:
            await self._until(lambda: self._queue.qsize() <= self._ahead // 2 and self._outstanding < MAX_OUTSTANDING)
            if self._stop.is_set():
                return
            began = time.monotonic()
            wanted = max(1, min(self._ahead - self._queue.qsize(), MAX_OUTSTANDING - self._outstanding))
            try:
                lease = await self._lease(wanted)
            except (NotReachableError, ProblemError) as error:
                _raise_if_fatal(error)
                logger.warning("cannot lease from the inbox %s, trying on: %s", self._inbox.name, error)
                await self._rest(retrying.pause() or 0.0)
                continue
            retrying = Retrying(float("inf"))
            if lease.lease_id is not None:
                await self._take(lease.lease_id, lease, began, full=len(lease.events) >= wanted)
            elif self._until_empty:
                if not self._outstanding:
                    return
                await self._until_settled()
            else:
                # A paused inbox may answer at once that there is nothing.
                await self._rest(began + _EMPTY_SECONDS - time.monotonic())

    async def _lease(self, wanted: int) -> Lease:
        members = {"max": wanted, "lease_seconds": self._lease_seconds}
        try:
            return await self._inbox.lease(**members, wait_seconds=self._wait_seconds)
        except ProblemError as error:
            # A platform from before there were leases that wait.
            if not any(each.pointer == "/wait_seconds" for each in error.errors):
                raise
        self._wait_seconds = 0
        return await self._inbox.lease(**members)

    async def _take(self, lease_id: str, lease: Lease, began: float, *, full: bool) -> None:
        held = _Held(lease_id, began + self._lease_seconds, {event.id for event in lease.events})
        self._held[lease_id] = held
        arrived = time.monotonic()
        for event in lease.events:
            self._queue.put_nowait((held, event))
        if not full:
            return
        await self._until(lambda: self._queue.qsize() <= self._ahead // 2)
        quick = time.monotonic() - arrived < _AHEAD_SECONDS
        self._ahead = min(self._ahead * 2, MAX_OUTSTANDING) if quick else max(self._ahead // 2, self._concurrency)

    @property
    def _outstanding(self) -> int:
        """How many events are leased and not settled."""
        return sum(len(held.open) for held in self._held.values())

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not (holds() or self._stop.is_set()):
            self._progress.clear()
            await self._progress.wait()

    async def _rest(self, seconds: float) -> None:
        """Wait, but not on when it is to stop."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stop.wait(), max(0.0, seconds))

    async def _until_settled(self) -> None:
        before = self._outstanding
        await self._until(lambda: self._outstanding < before)

    # --- Handling ----------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            held, event = await self._queue.get()
            self._running += 1
            self._progress.set()
            try:
                if await self._is_held(held):
                    await self._handle_and_settle(held, event)
                else:
                    # Somebody else may have it by now.
                    self._forget(held, event.id)
            finally:
                self._running -= 1
                self._progress.set()

    async def _is_held(self, held: _Held) -> bool:
        """Whether nobody else has its events. Where that is not sure the platform is asked, which knows since when the
        lease runs: it began at the end of the wait for it, which may have been longer than the lease is.
        """
        if not held.lasts() and not held.lost:
            await self._extend(held)
        return held.lasts()

    async def _handle_and_settle(self, held: _Held, event: InboxEvent) -> None:
        try:
            await self._handle(event)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything
            self._let_rest(held, event, error)
        else:
            self._acks.append((held, event.id))
            self._to_settle.set()

    async def _handle(self, event: InboxEvent) -> None:
        if event.leases > 1:
            logger.info("event %s comes again, lease %d", event.id, event.leases)
        if self._executor:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._handler, event)
        else:
            await self._handler(event)

    def _let_rest(self, held: _Held, event: InboxEvent, error: Exception) -> None:
        delay = self._retry_delay(event) if callable(self._retry_delay) else self._retry_delay
        logger.warning("event %s failed and is given back in %.1f s: %r", event.id, delay, error, exc_info=error)
        timer = asyncio.get_running_loop().call_later(delay, self._give_back, event.id)
        self._resting[event.id] = (timer, held)

    def _give_back(self, event_id: str) -> None:
        _, held = self._resting.pop(event_id)
        self._nacks.append((held, event_id))
        self._to_settle.set()

    # --- Holding and settling ----------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Extend what is not settled, three times in the life of a lease."""
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            await asyncio.gather(*(self._extend(held) for held in list(self._held.values()) if not held.lost))

    async def _extend(self, held: _Held) -> None:
        began = time.monotonic()
        try:
            await self._inbox.extend(held.lease_id, self._lease_seconds)
        except NotReachableError as error:
            logger.warning("cannot extend a lease: %s", error)
        except ProblemError as error:
            # It expired, or the last of its events was settled at this moment.
            if error.status == 404:
                held.ends, held.lost = began, True
            else:
                logger.warning("cannot extend a lease: %s", error)
        else:
            held.ends = began + self._lease_seconds

    async def _settle(self) -> None:
        """Acknowledge and give back all that has come together while the request before was made."""
        retrying = Retrying(float("inf"))
        while True:
            await self._to_settle.wait()
            self._to_settle.clear()
            try:
                while self._acks or self._nacks:
                    await self._settle_some()
                    retrying = Retrying(float("inf"))
            except (NotReachableError, ProblemError) as error:
                _raise_if_fatal(error)
                logger.warning("cannot acknowledge, trying on: %s", error)
                await asyncio.sleep(retrying.pause() or 0.0)
                self._to_settle.set()

    async def _settle_some(self) -> None:
        if acks := self._acks[:1000]:
            # Whoever holds it now: it was handled, so nobody else has to.
            await self._inbox.ack([event_id for _, event_id in acks])
            self._acks = self._acks[len(acks) :]
            self._forget_all(acks)
        by_lease: dict[str, list[tuple[_Held, str]]] = defaultdict(list)
        for held, event_id in self._nacks[:1000]:
            by_lease[held.lease_id].append((held, event_id))
        for lease_id, nacks in by_lease.items():
            await self._inbox.nack([event_id for _, event_id in nacks], lease_id)
            self._nacks = [nack for nack in self._nacks if nack not in nacks]
            self._forget_all(nacks)

    def _forget_all(self, settled: list[tuple[_Held, str]]) -> None:
        for held, event_id in settled:
            self._forget(held, event_id)

    def _forget(self, held: _Held, event_id: str) -> None:
        held.open.discard(event_id)
        if not held.open:
            self._held.pop(held.lease_id, None)
        self._progress.set()

    # --- Stopping ----------------------------------------------------------------------------------------------

    async def _wind_down(self, feeding: asyncio.Task[None], settling: asyncio.Task[None]) -> None:
        """Take no more, give back what was not begun, wait for what runs, and settle everything."""
        self._stop.set()
        self._progress.set()
        # Who hangs up on a lease may have been given events, which then wait for its end.
        await asyncio.wait([feeding], timeout=_LEASE_GRACE_SECONDS)
        feeding.cancel()
        await asyncio.wait([feeding])
        while not self._queue.empty():
            held, event = self._queue.get_nowait()
            self._nacks.append((held, event.id))
        ends = time.monotonic() + self._stop_seconds
        await self._until_ends(lambda: not self._running, ends)
        for event_id, (timer, _) in list(self._resting.items()):
            timer.cancel()
            self._give_back(event_id)
        self._to_settle.set()
        await self._until_ends(
            lambda: settling.done() or not (self._acks or self._nacks), max(ends, time.monotonic() + 1)
        )
        left = self._running + len(self._acks) + len(self._nacks)
        if left:
            logger.warning("%d events could not be settled: they come again when their lease has expired", left)

    async def _until_ends(self, holds: Callable[[], bool], ends: float) -> None:
        while not holds() and time.monotonic() < ends:
            self._progress.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._progress.wait(), min(0.1, max(0.0, ends - time.monotonic())))


def _raise_if_fatal(error: NotReachableError | ProblemError) -> None:
    """What no waiting heals: a key without the scope, an inbox that is gone."""
    if isinstance(error, ProblemError) and error.status < 500 and error.status not in RETRIED_STATUSES:
        raise error


@contextmanager
def _stopped_by_signals(stop: Callable[[], object]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop` within the block, where signals can be had: in the main thread, not on Windows."""
    loop = asyncio.get_running_loop()
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        with suppress(NotImplementedError):
            for number in (signal.SIGTERM, signal.SIGINT):
                was = signal.getsignal(number)
                loop.add_signal_handler(number, stop)
                before[number] = was
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
