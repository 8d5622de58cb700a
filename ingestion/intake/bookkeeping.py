"""Write what the process has noted (counts of events, uses of keys) in bulk, now and then."""

import asyncio
import logging
import time

import psycopg

from core.ports import Database, Redis
from ingestion.intake.counting import record_counts
from ingestion.intake.rejections import record_rejections
from organizations.keys.key_use import record_key_use

logger = logging.getLogger(__name__)
COUNTS_SECONDS = 5.0
KEYS_SECONDS = 60.0


class Bookkeeper:
    """Of one process. With an event loop: `schedule` at each request. Without one: `write` when `due`."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database, self._redis = database, redis
        self._scheduled = False
        self._counts_at = self._keys_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    def schedule(self) -> None:
        """See to it that what this request notes is written soon; costs next to nothing."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(COUNTS_SECONDS, self._start)

    def due(self) -> bool:
        return time.monotonic() - self._counts_at >= COUNTS_SECONDS

    async def write(self, *, last: bool = False) -> None:
        """Never raises for a database or a Redis that is away. `last`: the process ends, write all."""
        now = self._counts_at = time.monotonic()
        await record_rejections(self._redis)
        try:
            await record_counts(self._database)
            if last or now - self._keys_at >= KEYS_SECONDS:
                self._keys_at = now
                await record_key_use(self._database)
        except psycopg.Error as error:
            logger.warning("counts were not written: %s", type(error).__name__)

    def _start(self) -> None:
        self._scheduled = False
        self._task = asyncio.get_running_loop().create_task(self.write())
