"""Sending in the background, many events a request.

An event stays in the buffer until the platform has answered for it. What is refused is reported, what cannot be sent
is handed back when the buffer closes: nothing is dropped.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from events_client.batches import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, batch_call
from events_client.encoding import encode_event
from events_client.errors import (
    BufferFullError,
    BufferStoppedError,
    EventsRefusedError,
    NotReachableError,
    ProblemError,
)
from events_client.retrying import RETRIED_STATUSES, Retrying
from events_client.shapes import BatchItem, BatchOutcome, Problem, RefusedEvent

if TYPE_CHECKING:
    from events_client.client import Client

WhenFull = Literal["block", "raise"]

MAX_PENDING_BYTES = 64 * 1024 * 1024
# Without a callback refused events are kept until somebody asks for them; so many, then the buffer takes no more.
MAX_KEPT_REFUSED = 1000
# How long one request is tried before the buffer looks whether it is to close.
_TRY_SECONDS = 5.0


class Buffer:
    """Takes events at once and sends them in batches from a thread of its own. A context manager; threads may share it.

    A batch leaves when it has `max_events` (at most 1 000) or 4 MiB, or its first event is `max_seconds` old. The
    buffer holds `max_pending` events and 64 MiB; over that, `send()` waits, or raises BufferFullError with
    `when_full="raise"`. While the platform cannot be reached it goes on trying. Leaving the block, `close()` and the
    end of the program send what is left, for up to `close_seconds`; what is then still unsent is in the
    BufferStoppedError. A process that is killed loses what its buffer held.

    Refused events go to `on_refused`, which is called in the thread of the buffer; without it, `flush()` and
    `close()` raise EventsRefusedError.
    """

    def __init__(
        self,
        client: Client,
        *,
        max_events: int = 500,
        max_seconds: float = 0.05,
        max_pending: int = 20_000,
        when_full: WhenFull = "block",
        close_seconds: float = 30.0,
        on_refused: Callable[[RefusedEvent], object] | None = None,
    ) -> None:
        if not 1 <= max_events <= MAX_BATCH_EVENTS:
            raise ValueError(f"max_events is 1 to {MAX_BATCH_EVENTS}")
        self._client = client
        self._max_events = max_events
        self._max_seconds = max_seconds
        self._max_pending = max(max_pending, max_events)
        self._when_full = when_full
        self._close_seconds = close_seconds
        self._on_refused = on_refused
        self._begin()

    def _begin(self) -> None:
        """Begin empty, also in a forked process: what the buffer held is its parent's to send."""
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._pending: deque[bytes] = deque()
        self._bytes = 0
        self._oldest_at = 0.0
        self._answered = 0
        self._flushed_up_to = 0
        self._refused: list[RefusedEvent] = []
        self._failure: Exception | None = None
        self._ends: float | None = None
        self._batch_events = self._max_events
        self._thread = threading.Thread(target=self._run, name="events-buffer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def send(self, type: str, data: object, **members: Any) -> None:  # noqa: A002 - the name of the member
        """Take an event; its members are those of `events.send()`. Raises what `encode_event()` raises, at once."""
        self.put(encode_event(type, data, **members))

    def put(self, event: bytes, *, when_full: WhenFull | None = None) -> None:
        """Take an event that `encode_event()` made."""
        if self._process != os.getpid():
            self._begin()
        with self._changed:
            self._require_open()
            while not self._has_room(len(event)):
                if (when_full or self._when_full) == "raise":
                    raise BufferFullError(
                        f"{len(self._pending)} events wait to be sent: they come faster than the platform takes them"
                    )
                self._changed.wait()
                self._require_open()
            if not self._pending:
                self._oldest_at = time.monotonic()
                self._changed.notify_all()
            self._pending.append(event)
            self._bytes += len(event)
            if len(self._pending) == self._max_events or self._bytes >= MAX_BATCH_BYTES:
                self._changed.notify_all()

    def flush(self, seconds: float | None = None) -> None:
        """Wait until all that was taken before is answered for.

        Raises EventsRefusedError, and BufferStoppedError when `seconds` are over first.
        """
        ends = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            goal = self._answered + len(self._pending)
            self._flushed_up_to = max(self._flushed_up_to, goal)
            self._changed.notify_all()
            while self._answered < goal:
                if self._failure is not None:
                    raise self._stopped()
                if not self._changed.wait(None if ends is None else max(0.0, ends - time.monotonic())):
                    raise self._stopped()
            self._report_refused()

    def close(self) -> None:
        """Send what is left and end. Raises EventsRefusedError or BufferStoppedError; a second time does nothing."""
        atexit.unregister(self.close)
        with self._changed:
            if self._ends is None:
                self._ends = time.monotonic() + self._close_seconds
            self._changed.notify_all()
        if self._process == os.getpid():
            self._thread.join(self._close_seconds + self._client.settings.timeout + _TRY_SECONDS)
        with self._changed:
            if self._pending:
                error = self._stopped()
                self._pending.clear()
                raise error
            self._report_refused()

    @property
    def pending(self) -> int:
        """How many events are not answered for yet."""
        return len(self._pending)

    def _has_room(self, size: int) -> bool:
        if not self._pending:
            return True
        return len(self._pending) < self._max_pending and self._bytes + size <= MAX_PENDING_BYTES

    def _require_open(self) -> None:
        if self._failure is not None:
            raise BufferStoppedError(f"the buffer cannot send: {self._failure}") from self._failure
        if self._ends is not None:
            raise BufferStoppedError("the buffer is closed")
        if len(self._refused) >= MAX_KEPT_REFUSED:
            self._report_refused()

    def _stopped(self) -> BufferStoppedError:
        reason = self._failure or "the time is over"
        error = BufferStoppedError(f"{len(self._pending)} events could not be sent: {reason}", tuple(self._pending))
        error.__cause__ = self._failure
        return error

    def _report_refused(self) -> None:
        if self._refused:
            refused, self._refused = self._refused, []
            raise EventsRefusedError(refused)

    # --- In the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._send_batches()
        except Exception as error:  # noqa: BLE001 - whatever it was, those who wait must hear of it
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _send_batches(self) -> None:
        retrying = Retrying(float("inf"))
        while batch := self._next_batch():
            outcome = self._answer_for(batch)
            if isinstance(outcome, BatchOutcome):
                retrying = Retrying(float("inf"))
                self._batch_events = min(self._batch_events * 2, self._max_events)
                self._take_away(batch, outcome)
            elif not self._goes_on_after(outcome, batch, retrying):
                return

    def _answer_for(self, batch: list[bytes]) -> BatchOutcome | NotReachableError | ProblemError:
        try:
            return self._client.call(batch_call(batch), retry_seconds=self._seconds_to_try())
        except (NotReachableError, ProblemError) as error:
            return error

    def _next_batch(self) -> list[bytes]:
        """What to send next, as soon as there is a reason to; nothing when the buffer is closed and empty."""
        with self._changed:
            while not self._is_due():
                if self._ends is not None and not self._pending:
                    return []
                waits = self._oldest_at + self._max_seconds - time.monotonic() if self._pending else None
                self._changed.wait(waits)
            batch: list[bytes] = []
            size = 0
            for event in islice(self._pending, self._batch_events):
                size += len(event) + 1
                if batch and size > MAX_BATCH_BYTES:
                    break
                batch.append(event)
            return batch

    def _is_due(self) -> bool:
        if not self._pending:
            return False
        return (
            len(self._pending) >= self._batch_events
            or self._bytes >= MAX_BATCH_BYTES
            or self._ends is not None
            or self._answered < self._flushed_up_to
            or time.monotonic() >= self._oldest_at + self._max_seconds
        )

    def _seconds_to_try(self) -> float:
        if self._ends is None:
            return _TRY_SECONDS
        return max(0.0, min(_TRY_SECONDS, self._ends - time.monotonic()))

    def _goes_on_after(self, error: NotReachableError | ProblemError, batch: list[bytes], retrying: Retrying) -> bool:
        """Whether to try again: later, with fewer events, or with the next ones. Otherwise the buffer has stopped."""
        if isinstance(error, ProblemError) and error.status == 413:
            if len(batch) == 1:
                self._take_away(batch, _all_refused(error))
            self._batch_events = max(1, len(batch) // 2)
            return True
        if isinstance(error, ProblemError) and error.status not in RETRIED_STATUSES and error.status < 500:
            with self._changed:
                self._failure = error
                self._changed.notify_all()
            return False
        if isinstance(error, ProblemError) and error.status == 429:
            # A batch over what the plan allows in a minute would never get through.
            self._batch_events = max(1, len(batch) // 2)
        pause = retrying.pause(error.retry_after if isinstance(error, ProblemError) else None) or 0.0
        with self._changed:
            if self._ends is not None and time.monotonic() + pause >= self._ends:
                return False
            self._changed.wait_for(lambda: self._ends is not None, pause)
        return True

    def _take_away(self, batch: list[bytes], outcome: BatchOutcome) -> None:
        refused = [
            RefusedEvent(event=batch[result.index], problem=result.error)
            for result in outcome.results
            if result.error is not None
        ]
        if self._on_refused is not None:
            for each in refused:
                self._on_refused(each)
        with self._changed:
            for event in batch:
                self._pending.popleft()
                self._bytes -= len(event)
            self._answered += len(batch)
            self._oldest_at = time.monotonic()
            if self._on_refused is None:
                self._refused += refused
            self._changed.notify_all()

    def __enter__(self) -> Buffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncBuffer:
    """A Buffer for asyncio: what waits there is awaited here, and an event that finds room is taken without waiting."""

    def __init__(self, client: Client, **options: Any) -> None:
        self._client = client
        self._waits = options.get("when_full") != "raise"
        self._buffer = Buffer(client, **options)

    async def send(self, type: str, data: object, **members: Any) -> None:  # noqa: A002 - the name of the member
        """Take an event; its members are those of `events.send()`."""
        event = encode_event(type, data, **members)
        try:
            self._buffer.put(event, when_full="raise")
        except BufferFullError:
            if not self._waits:
                raise
            await asyncio.to_thread(self._buffer.put, event)

    async def flush(self, seconds: float | None = None) -> None:
        """Wait until all that was taken before is answered for; raises what `Buffer.flush()` raises."""
        await asyncio.to_thread(self._buffer.flush, seconds)

    async def close(self) -> None:
        """Send what is left and end; raises what `Buffer.close()` raises."""
        try:
            await asyncio.to_thread(self._buffer.close)
        finally:
            self._client.close()

    async def __aenter__(self) -> AsyncBuffer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _all_refused(error: ProblemError) -> BatchOutcome:
    problem = Problem(
        code=error.code, status=error.status, title=error.title, detail=error.detail, errors=list(error.errors)
    )
    item = BatchItem(index=0, id=None, status="rejected", error=problem)
    return BatchOutcome(accepted=0, duplicates=0, rejected=1, results=[item])
