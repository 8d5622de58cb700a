"""The event loop of a worker process that sends: in a thread of its own, from the first task to the process's end.

A task only wakes it. So claiming goes on while slow endpoints are waited for, connections outlive the tasks, and a
wake-up that finds nothing due costs a query.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Collection
from uuid import UUID

import uvloop
from django.conf import settings

from core.metrics import write_gathered
from core.ports.asynchronous import SingleDatabase
from delivery.webhooks.sender import Sender
from delivery.webhooks.sending import WebhookSender

logger = logging.getLogger(__name__)
# Claims and records touch a few hundred rows, found by their index. Until a new partition has statistics the planner
# would rather sort or hash the whole table; and a plan is kept, so that one that reads a table while it is small would
# still read all of it when it has grown. And no claim or record waits for the disk: one that a crash of PostgreSQL
# takes along makes a delivery that was sent be sent again, which every receiver must bear.
SERVER_SETTINGS = {
    "enable_seqscan": "off",
    "enable_sort": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "synchronous_commit": "off",
}
# Every wait of the loop is shorter, on a machine that is busy, too. A loop that does not answer never will.
STUCK_SECONDS = 45.0
_AFTER_A_FAULT_SECONDS = 1.0


class SendingProcess:
    """Of one process; a fork makes its own."""

    def __init__(self) -> None:
        self._pid = 0
        self._serving: _Serving | None = None

    def wake(self, due: Collection[tuple[UUID, UUID]]) -> None:
        """Have sent what is due; returns at once. Ends the process when its event loop makes no progress any more.

        The worker's parent starts another one, and what was in flight is due again when its lease ends.
        """
        if self._serving is None or self._pid != os.getpid() or not self._serving.is_alive():
            self._pid = os.getpid()
            self._serving = _Serving()
            self._serving.start()
        if not self._serving.wake(due):
            logger.critical("the sender has made no progress for %.0f s: this process ends", STUCK_SECONDS)
            os._exit(os.EX_SOFTWARE)

    def stop(self) -> None:
        """At the end of the process: wait for what is in flight."""
        if self._serving is not None and self._pid == os.getpid():
            self._serving.stop()


class _Serving(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="sending", daemon=True)
        self._ready = threading.Event()
        self._news: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._sender: Sender
        self._is_stopping = False

    def wake(self, due: Collection[tuple[UUID, UUID]]) -> bool:
        """Whether the loop has heard of it, and moves."""
        if not self._ready.wait(STUCK_SECONDS):
            return False
        heard = threading.Event()
        self._loop.call_soon_threadsafe(self._hear, due, heard)
        return heard.wait(STUCK_SECONDS) and time.monotonic() - self._sender.moved_at < STUCK_SECONDS

    def stop(self) -> None:
        self._is_stopping = True
        if self._ready.is_set() and self.is_alive():
            self._loop.call_soon_threadsafe(self._hear, (), threading.Event())
            self.join(settings.WEBHOOK_TIMEOUT_SECONDS + 5)

    def run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())
        write_gathered()

    async def _serve(self) -> None:
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        database = SingleDatabase(**SERVER_SETTINGS)
        async with WebhookSender.from_settings() as webhooks:
            self._sender = Sender(database, webhooks, rouse=self._news.set)
            self._ready.set()
            while not self._is_stopping:
                await self._run_once()
        await database.close()

    async def _run_once(self) -> None:
        """Until nothing is due and news comes."""
        try:
            await self._sender.run()
        except Exception:
            logger.exception("the sender failed and goes on")
            await asyncio.sleep(_AFTER_A_FAULT_SECONDS)
            return
        self._sender.moved_at = float("inf")  # it rests: there is nothing to do
        await self._news.wait()
        self._news.clear()
        self._sender.moved_at = time.monotonic()

    def _hear(self, due: Collection[tuple[UUID, UUID]], heard: threading.Event) -> None:
        if self._is_stopping:
            self._sender.stop()
        else:
            self._sender.wake(due)
        self._news.set()
        heard.set()


sending_process = SendingProcess()
