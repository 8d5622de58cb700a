"""Answers that stay open while there is nothing to say: how many there may be, and what they have in common.

Each of them is a coroutine between two looks: it has no thread and no connection to the database. Whatever they wait
for is looked for once a second, for all of a process at once; a hint may make it sooner.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from core import bounds
from core.problems import Problem
from core.turns import Owner
from rest.doors.shares import Budget, Held, TooMuchError, busy
from rest.problems import as_problem

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
_RETRY_AFTER_SECONDS = 10

leases = Budget(total=bounds.MAX_WAITING_LEASES, share=bounds.MAX_WAITING_LEASES_OF_ONE)
event_streams = Budget(total=bounds.MAX_EVENT_STREAMS, share=bounds.MAX_EVENT_STREAMS_OF_ONE)


def number_held() -> float:
    """How many of this process's connections only wait."""
    return leases.used + event_streams.used


def hold(budget: Budget, owner: Owner) -> Held:
    """Room for one more answer. Raises Problem 429 when its owner has too many, 503 when all together have."""
    held = Held(budget, owner)
    try:
        held.require()
    except TooMuchError as error:
        if error.is_ours:
            raise busy("Too many answers wait") from error
        raise Problem("too_many_streams", headers={"Retry-After": str(_RETRY_AFTER_SECONDS)}) from error
    return held


class SharedLook:
    """Awaits `look` once a second for as long as somebody waits for what it finds; one that fails is tried again."""

    def __init__(self, look: Callable[[], Awaitable[None]], *, is_wanted: Callable[[], bool]) -> None:
        self._look = look
        self._is_wanted = is_wanted
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Call when somebody has begun to wait."""
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._task = loop.create_task(self._go_on())

    async def _go_on(self) -> None:
        while self._is_wanted():
            try:
                await self._look()
            except Exception as error:
                # When PostgreSQL is away, or slow, whoever waits goes on waiting.
                if as_problem(error) is None:
                    logger.exception("a look for waiting answers failed")
            await asyncio.sleep(LOOK_SECONDS)
