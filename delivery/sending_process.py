"""The event loop of a worker process that sends: made at the first task, kept for the next ones.

So a wake-up that finds nothing due costs one query, and connections to endpoints outlive the tasks.
"""

import asyncio
import os
from contextvars import copy_context

import uvloop

from delivery.operations.send import Sender
from delivery.sending import WebhookSender
from rest.waiting_ports import SingleDatabase

# Claims end after this, and what is in flight after the timeout of a webhook more, before a stop loses patience.
RUN_SECONDS = 8.0
# Claims and records touch a few hundred rows, found by their index. Until a new partition has statistics the planner
# would rather sort or hash the whole table. And no claim or record waits for the disk: one that a crash of PostgreSQL
# takes along makes a delivery that was sent be sent again, which every receiver must bear.
SERVER_SETTINGS = {
    "enable_sort": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "synchronous_commit": "off",
}


class SendingProcess:
    """Of one process; a fork makes its own."""

    def __init__(self) -> None:
        self._pid = 0
        self._runner: asyncio.Runner | None = None
        self._sender: Sender | None = None

    def run(self) -> int:
        """Send what is due, for about RUN_SECONDS at most; returns the number of attempts."""
        if self._runner is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
            self._sender = self._runner.run(_make_sender())
        assert self._sender is not None  # noqa: S101 - it is made with the runner
        # The runner would keep the context of its first task.
        return self._runner.run(self._sender.run(seconds=RUN_SECONDS), context=copy_context())


async def _make_sender() -> Sender:
    webhooks = WebhookSender.from_settings()
    return Sender(SingleDatabase(**SERVER_SETTINGS), await webhooks.__aenter__())


sending_process = SendingProcess()
