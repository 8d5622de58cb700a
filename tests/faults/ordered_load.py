"""Clients that await their answers, and a receiver that knows what may come next of each key."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

_ANSWER_SECONDS = 15
_BEFORE_THE_NEXT_TRY = 0.2


@dataclass
class Receiver:
    """Answers a tenth of all requests with 503. `last` is the newest number of each key, and of its order."""

    url: str = ""
    requests: int = 0
    failed: int = 0
    repeated: int = 0
    last: dict[str, tuple[int, int]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    _luck: random.Random = field(default_factory=lambda: random.Random(18))

    async def take(self, request: web.Request) -> web.Response:
        """The same as before, or the next: nothing else may come."""
        data = (await request.json())["data"]
        key, number, sequence = data["key"], data["number"], int(request.headers["webhook-sequence"])
        self.requests += 1
        before = self.last.get(key)
        if before is not None and (number, sequence) not in (before, (before[0] + 1, before[1] + 1)):
            self.wrong.append(f"{key}: {number} with sequence {sequence} after {before}")
        elif before is None and number != 0:
            self.wrong.append(f"{key}: {number} came first")
        self.repeated += before == (number, sequence)
        self.last[key] = number, sequence
        fails = self._luck.random() < 0.1
        self.failed += fails
        return web.Response(status=503 if fails else 200)

    def has_got(self, requests: int) -> bool:
        return self.requests >= requests

    def has_all(self, keys: int, events: int) -> bool:
        """Whether the last event of each key has come."""
        return sum(number == events - 1 for number, _ in list(self.last.values())) == keys


@contextmanager
def in_background() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_ANSWER_SECONDS)
        loop.close()


@contextmanager
def receiving(loop: asyncio.AbstractEventLoop) -> Iterator[Receiver]:
    receiver = Receiver()

    async def start() -> web.AppRunner:
        application = web.Application()
        application.router.add_post("/hook", receiver.take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield receiver
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)


async def send_all(url: str, key: str, *, keys: int, events: int, clients: int) -> None:
    """Each client sends the events of its keys in turn, and awaits each answer before it sends the next one."""
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    headers = {"Authorization": f"Bearer {key}"}

    async def send(session: aiohttp.ClientSession, client: int) -> None:
        for number in range(events):
            for name in range(client, keys, clients):
                await _send(session, f"{url}/api/v1/events", f"key-{name}", number)

    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=headers, connector=connector) as session,
        asyncio.TaskGroup() as sending,
    ):
        for client in range(clients):
            sending.create_task(send(session, client))


async def _send(session: aiohttp.ClientSession, url: str, key: str, number: int) -> None:
    event: dict[str, Any] = {"type": "ordered", "subject": key, "data": {"key": key, "number": number}}
    event["idempotency_key"] = f"{key}-{number}"
    while True:
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with session.post(url, json=event) as answer:
                await answer.read()
                if answer.status in (200, 202):
                    return
                assert answer.status == 503, await answer.text()
        await asyncio.sleep(_BEFORE_THE_NEXT_TRY)
