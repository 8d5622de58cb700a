"""Consumers that wait in this web process for something to lease: docs/adr/0028.

They stand in line, a line for each inbox. Its first is called when the inbox has something, and whoever was served
calls the next one: so an event costs one attempt at a lease, and one more that finds nothing, however many wait.

Which inboxes have something, Redis tells within milliseconds. What it did not tell (it is away, a lease has run out) is
found by the look that all share.
"""

import asyncio
import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from django.conf import settings
from django.db import connection
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from core.postgresql.arrays import uuid_array
from delivery.wakeup import INBOX_CHANNEL
from organizations.queries import good_keys
from rest.doors import streams
from rest.doors.threads import for_streams
from rest.doors.waiting import SharedLook

# Of each inbox the first entry of `delivery_due`.
_DUE = """
SELECT inbox.id FROM delivery_subscription AS inbox
WHERE inbox.id = ANY(%s::uuid[]) AND inbox.status = 'active' AND EXISTS (
    SELECT FROM delivery_delivery WHERE subscription_id = inbox.id AND next_attempt_at <= statement_timestamp()
)
"""
# A connection that brought nothing for so long may be lost, which nothing would tell: it is opened anew.
_SILENCE_SECONDS = 20.0
_PAUSE_SECONDS = 1.0
# Inboxes that were heard of lately; beyond, the look finds them.
_MOST_HEARD = 10_000


class Waiter:
    """One consumer. `may_stay` turns false when its key is good no more, or the process ends."""

    __slots__ = ("_called", "inbox_id", "key_id", "may_stay")

    def __init__(self, inbox_id: UUID, key_id: UUID) -> None:
        self.inbox_id = inbox_id
        self.key_id = key_id
        self.may_stay = True
        self._called = asyncio.Event()

    @property
    def is_called(self) -> bool:
        return self._called.is_set()

    def call(self) -> None:
        self._called.set()

    async def wait(self, seconds: float) -> bool:
        """Whether it was called within `seconds` and may try; it is called no more then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._called.wait()
            self._called.clear()
            return self.may_stay
        return False


class Consumers:
    """Those of one process; of one event loop."""

    def __init__(self) -> None:
        self._lines: dict[UUID, dict[Waiter, None]] = {}
        self._heard: dict[UUID, float] = {}
        self._look = SharedLook(self._look_once, is_wanted=lambda: bool(self._lines))
        self._listening: asyncio.Task[None] | None = None

    @contextmanager
    def stand_in_line(self, inbox_id: UUID, key_id: UUID, *, since: float) -> Iterator[Waiter]:
        """For as long as the block lasts. `since`, by the monotonic clock: when the inbox was found to be empty."""
        waiter = Waiter(inbox_id, key_id)
        self._lines.setdefault(inbox_id, {})[waiter] = None
        if self._heard.get(inbox_id, since) > since:
            waiter.call()
        self._begin()
        try:
            yield waiter
        finally:
            line = self._lines[inbox_id]
            del line[waiter]
            if not line:
                del self._lines[inbox_id]
            if waiter.is_called:
                self.call_next(inbox_id)

    def have_line(self, inbox_id: UUID) -> bool:
        """Whether somebody waits there already. Of any thread."""
        return inbox_id in self._lines

    def call_next(self, inbox_id: UUID) -> None:
        """The inbox may have something."""
        for waiter in self._lines.get(inbox_id, ()):
            if not waiter.is_called:
                waiter.call()
                return

    def hear(self, inboxes: Collection[UUID]) -> None:
        """Somebody says that these have something; none stands for any."""
        now = time.monotonic()
        if len(self._heard) > _MOST_HEARD:
            self._heard.clear()
        for inbox_id in inboxes or list(self._lines):
            self._heard[inbox_id] = now
            self.call_next(inbox_id)

    def _begin(self) -> None:
        self._look.begin()
        loop = asyncio.get_running_loop()
        if self._listening is None or self._listening.done() or self._listening.get_loop() is not loop:
            self._listening = loop.create_task(self._listen())

    async def _look_once(self) -> None:
        waiting = [waiter for line in self._lines.values() for waiter in line]
        keys = {waiter.key_id for waiter in waiting}
        (due, good), _ = await for_streams(_look, None)(list(self._lines), keys)
        for waiter in waiting:
            if streams.are_ending() or waiter.key_id not in good:
                waiter.may_stay = False
                waiter.call()
        for inbox_id in due:
            self.call_next(inbox_id)

    async def _listen(self) -> None:
        """To Redis, from the first consumer on to the end of the process: one connection."""
        client: Redis = Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1)
        while True:
            with suppress(RedisError, OSError, ValueError):
                async with client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(INBOX_CHANNEL)
                    await self._hear_from(channel)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _hear_from(self, channel: PubSub) -> None:
        """Until it is silent."""
        heard_at = time.monotonic()
        while (left := heard_at + _SILENCE_SECONDS - time.monotonic()) > 0:
            message = await channel.get_message(timeout=left)
            if message is not None:
                heard_at = time.monotonic()
                self.hear([UUID(pk) for pk in json.loads(message["data"])])


def _look(inboxes: Collection[UUID], keys: Collection[UUID]) -> tuple[list[UUID], set[UUID]]:
    """Which of the inboxes have something, and which of the keys are good."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [uuid_array(inboxes)])
        due = [pk for (pk,) in cursor.fetchall()]
    return due, good_keys(keys)


consumers = Consumers()
