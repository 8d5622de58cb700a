"""Many small questions asked at once become one: what comes while a call runs waits for it, and shares the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
# A call stays short, so that those who come next do not wait long.
MOST = 200


class Gatherer(Generic[Q, A]):
    """Of one event loop. `answer_all` answers many questions, in their order; what it raises, all of them raise."""

    def __init__(self, answer_all: Callable[[Sequence[Q]], Awaitable[Sequence[A]]]) -> None:
        self._answer_all = answer_all
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._running: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        self._waiting.append((question, future))
        if self._running is None:
            self._running = loop.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await self._answer(taken)
        finally:
            self._running = None

    async def _answer(self, taken: Sequence[tuple[Q, "asyncio.Future[A]"]]) -> None:
        try:
            answers = await self._answer_all([question for question, _ in taken])
        except Exception as error:  # noqa: BLE001 - it belongs to those who asked
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(taken, answers, strict=True):
            if not future.done():
                future.set_result(answer)
