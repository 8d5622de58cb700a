"""Group commit: one writer per server process commits all that waits in one statement.

An event that finds the writer idle is written at once; events that come while a statement runs share the next one.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from itertools import islice

import psycopg

from core.ports import PatientDatabase
from core.ports.batcher import Batcher
from core.problems import Problem
from ingestion.intake.probe import probe_statement
from ingestion.intake.storing import Incoming, WriteOutcome, store
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


class GroupCommitWriter:
    """The writer of one event loop. `store` may be called by many tasks at once."""

    def __init__(self, database: PatientDatabase) -> None:
        self._database = database
        self._batcher: Batcher[Sequence[Incoming], list[WriteOutcome]] = Batcher(
            self._flush, most=FLUSH_EVENTS, most_bytes=FLUSH_BYTES
        )
        self._refuses_until = 0.0
        # Of the last commit, on the monotonic clock, while nothing has failed since; and of what has, the error.
        self.committed_at = float("-inf")
        self.fault: Exception | None = None

    @property
    def queued(self) -> int:
        """Events that wait for their commit, those of the running statement included."""
        return self._batcher.count

    def store(self, events: Sequence[Incoming]) -> Awaitable[list[WriteOutcome]]:
        """The outcomes in order, after their commit. Raises Problem 503: the queue is full, or PostgreSQL is away."""
        # One request's events share their origin.
        own = sum(len(event.event.data) + len(event.event.annotations or "") for event in events)
        size = own + len(events[0].origin or "")
        if self._batcher.count + len(events) > QUEUE_EVENTS or self._batcher.size + size > QUEUE_BYTES:
            raise _unavailable()
        self._require_calm()
        return self._batcher.ask(events, count=len(events), size=size)

    async def prove(self) -> None:
        """Wait for a commit: of events that wait, or else of a probe. Raises Problem 503; `fault` says why."""
        self._require_calm()
        await self._batcher.ask((), count=0)

    async def _flush(self, submissions: Sequence[Sequence[Incoming]]) -> list[list[WriteOutcome]]:
        """Of what waited while another flush failed nothing is tried."""
        self._require_calm()
        events = [event for submission in submissions for event in submission]
        started = time.perf_counter()
        outcomes: list[WriteOutcome] = []
        try:
            if events:
                outcomes = await store(self._database, events)
            else:
                await self._database.fetch(probe_statement(), ())
        except (psycopg.Error, OSError) as error:
            self._note_fault(error, events)
            logger.warning("PostgreSQL is away: %s", error)
            # What a probe alone may not do (it spills to the disk) says nothing of the events behind it.
            if events or getattr(error, "sqlstate", None) is None:
                self._refuses_until = asyncio.get_running_loop().time() + PAUSE_AFTER_FAILURE_SECONDS
            raise _unavailable() from error
        except Exception as error:
            self._note_fault(error, events)
            logger.exception("a flush of %d events failed", len(events))
            raise Problem("internal_error") from error
        self.committed_at, self.fault = time.monotonic(), None
        if events:
            FLUSHED_SECONDS.observe(time.perf_counter() - started)
            FLUSHED_EVENTS.observe(len(events))
            wake_processing()
        rest = iter(outcomes)
        return [list(islice(rest, len(submission))) for submission in submissions]

    def _note_fault(self, error: Exception, events: Sequence[Incoming]) -> None:
        self.committed_at, self.fault = float("-inf"), error
        if events:
            FLUSH_FAILURES.inc()

    def _require_calm(self) -> None:
        """Raises Problem 503 for a moment after a failure."""
        if asyncio.get_running_loop().time() < self._refuses_until:
            raise _unavailable()


def _unavailable() -> Problem:
    return Problem("service_unavailable", headers={"Retry-After": "1"})
