"""What comes while a call runs waits for it, and shares the next call: so calls grow with the load, not in number."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
# A call stays short, so that those who come next do not wait long.
MOST = 200


class _Waiting(NamedTuple, Generic[Q, A]):
    item: Q
    counts: int
    size: int
    answer: "asyncio.Future[A]"


class Batcher(Generic[Q, A]):
    """Of one event loop. `answer_all` answers many items, in their order; what it raises, all of these raise.

    An item that finds nothing running is answered at once. A call takes the oldest items that count no more than `most`
    and have no more than `most_bytes` together, and at least one. With a `pause` calls begin so many seconds after each
    other, or once items wait that count `enough`; without one there is no timer.
    """

    def __init__(
        self,
        answer_all: Callable[[Sequence[Q]], Awaitable[Sequence[A]]],
        *,
        most: int = MOST,
        most_bytes: float = float("inf"),
        pause: float = 0.0,
        enough: int = MOST,
    ) -> None:
        self._answer_all = answer_all
        self._most = most
        self._most_bytes = most_bytes
        self._pause = pause
        self._enough = enough
        self._has_enough = asyncio.Event()
        self._waiting: deque[_Waiting[Q, A]] = deque()
        self._running: asyncio.Task[None] | None = None
        # Of all that has no answer yet, what is being answered included.
        self.count = self.size = 0

    def ask(self, item: Q, *, count: int = 1, size: int = 0) -> "asyncio.Future[A]":
        """The answer to come. The item counts as `count`, and has `size` bytes."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._waiting.append(_Waiting(item, count, size, answer))
        self.count += count
        self.size += size
        if self.count >= self._enough:
            self._has_enough.set()
        if self._running is None:
            self._running = loop.create_task(self._run())
        return answer

    async def _run(self) -> None:
        """Until nothing waits."""
        try:
            while self._waiting:
                began = asyncio.get_running_loop().time()
                taken = self._take()
                try:
                    answers = await self._answer_all([waiting.item for waiting in taken])
                except Exception as error:  # noqa: BLE001 - it belongs to those who asked
                    self._hand_out(taken, error)
                else:
                    self._hand_out(taken, answers)
                if self._pause:
                    await self._rest(until=began + self._pause)
        finally:
            self._running = None

    async def _rest(self, *, until: float) -> None:
        if self.count < self._enough:
            self._has_enough.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._has_enough.wait()

    def _take(self) -> list[_Waiting[Q, A]]:
        taken: list[_Waiting[Q, A]] = []
        count = size = 0
        while self._waiting:
            first = self._waiting[0]
            count += first.counts
            size += first.size
            if taken and (count > self._most or size > self._most_bytes):
                break
            taken.append(self._waiting.popleft())
        return taken

    def _hand_out(self, taken: Sequence[_Waiting[Q, A]], answers: Sequence[A] | Exception) -> None:
        for number, (_, counts, size, future) in enumerate(taken):
            self.count -= counts
            self.size -= size
            if future.done():  # who asked has gone away
                continue
            if isinstance(answers, Exception):
                future.set_exception(answers)
            else:
                future.set_result(answers[number])
