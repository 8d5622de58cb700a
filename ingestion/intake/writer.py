"""Group commit: one writer per server process commits all that waits in one statement.

There is no timer. An event that finds the writer idle is written at once; events that come while a statement runs wait
for it, and share the next one. So the batches grow with the load, and the commits do not.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psycopg

from core.ports import PatientDatabase
from core.problems import Problem
from ingestion.intake.probe import probe_statement
from ingestion.intake.storing import Incoming, Outcome, store
from ingestion.metrics import FLUSH_FAILURES, FLUSHED_EVENTS, FLUSHED_SECONDS
from ingestion.wakeup import wake_processing

logger = logging.getLogger(__name__)
# Above some 250 events a statement, more events make it longer but no faster.
FLUSH_EVENTS = 1_000
FLUSH_BYTES = 8 * 1024 * 1024
# A second or two of work at full speed. More would only wait for longer than clients do.
QUEUE_EVENTS = 10_000
QUEUE_BYTES = 32 * 1024 * 1024
# After a failure nobody waits for the next one: requests are refused at once, until this is over.
PAUSE_AFTER_FAILURE_SECONDS = 0.5


class _Submission(NamedTuple):
    events: Sequence[Incoming]
    size: int
    outcomes: "asyncio.Future[list[Outcome]]"


class GroupCommitWriter:
    """The writer of one event loop. `store` may be called by many tasks at once."""

    def __init__(self, database: PatientDatabase) -> None:
        self._database = database
        self._waiting: deque[_Submission] = deque()
        self._events = 0
        self._bytes = 0
        self._running: asyncio.Task[None] | None = None
        self._refuses_until = 0.0
        # Of the last commit, on the monotonic clock, while nothing has failed since; and of what has, the error.
        self.committed_at = float("-inf")
        self.fault: Exception | None = None

    @property
    def queued(self) -> int:
        """Events that wait for their commit, those of the running statement included."""
        return self._events

    async def store(self, events: Sequence[Incoming]) -> list[Outcome]:
        """The outcomes in order, after their commit. Raises Problem 503: the queue is full, or PostgreSQL is away."""
        loop = asyncio.get_running_loop()
        # One request's events share their origin.
        size = sum(len(event.event.data) for event in events) + len(events[0].origin or "")
        full = self._events + len(events) > QUEUE_EVENTS or self._bytes + size > QUEUE_BYTES
        if full or loop.time() < self._refuses_until:
            raise _unavailable()
        return await self._submit(_Submission(events, size, loop.create_future()))

    async def prove(self) -> None:
        """Wait for a commit: of events that wait, or else of a probe. Raises Problem 503; `fault` says why."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._refuses_until:
            raise _unavailable()
        await self._submit(_Submission((), 0, loop.create_future()))

    async def _submit(self, submission: _Submission) -> list[Outcome]:
        self._waiting.append(submission)
        self._events += len(submission.events)
        self._bytes += submission.size
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())
        return await submission.outcomes

    async def _run(self) -> None:
        """Until nothing waits."""
        try:
            while self._waiting:
                await self._flush(self._take())
        finally:
            self._running = None

    def _take(self) -> list[_Submission]:
        """The oldest submissions that make up one statement: at least one."""
        taken: list[_Submission] = []
        events = size = 0
        while self._waiting:
            first = self._waiting[0]
            events += len(first.events)
            size += first.size
            if taken and (events > FLUSH_EVENTS or size > FLUSH_BYTES):
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _flush(self, taken: Sequence[_Submission]) -> None:
        events = [event for submission in taken for event in submission.events]
        started = time.perf_counter()
        try:
            if events:
                await store(self._database, events)
            else:
                await self._database.fetch(probe_statement(), ())
        except (psycopg.Error, OSError) as error:
            self._note_fault(error, events)
            logger.warning("PostgreSQL is away: %s", error)
            # What a probe alone may not do (it spills to the disk) says nothing of the events behind it.
            if events or getattr(error, "sqlstate", None) is None:
                self._refuse([*taken, *self._waiting])
            else:
                self._answer(taken, _unavailable)
        except Exception as error:
            self._note_fault(error, events)
            logger.exception("a flush of %d events failed", len(events))
            self._answer(taken, lambda: Problem("internal_error"))
        else:
            self.committed_at, self.fault = time.monotonic(), None
            if events:
                FLUSHED_SECONDS.observe(time.perf_counter() - started)
                FLUSHED_EVENTS.observe(len(events))
                wake_processing()
            self._answer(taken)

    def _note_fault(self, error: Exception, events: Sequence[Incoming]) -> None:
        self.committed_at, self.fault = float("-inf"), error
        if events:
            FLUSH_FAILURES.inc()

    def _refuse(self, submissions: Sequence[_Submission]) -> None:
        """Nothing of these is known to be committed; nothing of what comes at once is tried."""
        self._waiting.clear()
        self._refuses_until = asyncio.get_running_loop().time() + PAUSE_AFTER_FAILURE_SECONDS
        self._answer(submissions, _unavailable)

    def _answer(self, submissions: Sequence[_Submission], failure: Callable[[], Problem] | None = None) -> None:
        for submission in submissions:
            self._events -= len(submission.events)
            self._bytes -= submission.size
            if submission.outcomes.done():  # its client has gone away
                continue
            if failure is not None:
                submission.outcomes.set_exception(failure())
            else:
                submission.outcomes.set_result([event.outcome for event in submission.events if event.outcome])


def _unavailable() -> Problem:
    return Problem("service_unavailable", headers={"Retry-After": "1"})
