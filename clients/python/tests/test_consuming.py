"""Consuming the inbox of a started platform: what is acknowledged, what comes again, how it stops."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from conftest import Answer, Request, Server, problem

from events_client import AsyncClient, Client, InboxEvent, ProblemError

PROGRAM = """
import sys, time
from events_client import Client
def handle(event):
    print("began", event.data, flush=True)
    time.sleep(float(sys.argv[2]))
    print("ended", event.data, flush=True)
Client().inbox(sys.argv[1]).consume(handler=handle, lease_seconds=int(sys.argv[3]))
print("stopped", flush=True)
"""


class Box:
    """An inbox of its own, and the type of event that it takes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        self.type = f"{self.name}.event"
        self.subscription = client.subscriptions.create_inbox(self.name, event_types=[self.type])

    def fill(self, count: int) -> None:
        """Send events with the data 0, 1, 2 … and wait until all are there."""
        with self.client.events.buffer() as buffer:
            for number in range(count):
                buffer.send(self.type, number)
        self.wait_for(count)

    def wait_for(self, count: int, seconds: float = 60.0) -> None:
        ends = time.monotonic() + seconds
        while (found := sum(1 for _ in self.client.inbox(self.name).list(page_size=1000))) != count:
            assert time.monotonic() < ends, f"{found} of {count} are in the inbox"
            time.sleep(0.1)


@pytest.fixture
def box(platform: Client) -> Iterator[Box]:
    made = Box(platform)
    yield made
    platform.subscriptions.delete(made.subscription.id)


def test_each_event_is_handled_and_acknowledged(box: Box) -> None:
    box.fill(300)
    handled: list[int] = []
    box.client.inbox(box.name).consume(lambda event: handled.append(event.data), until_empty=True)
    assert sorted(handled) == [*range(300)]
    box.wait_for(0)


def test_coroutines_handle_several_at_once(box: Box) -> None:
    box.fill(8)
    together: list[int] = []
    running = 0

    async def handle(event: InboxEvent) -> None:
        nonlocal running
        running += 1
        ends = time.monotonic() + 20
        while running < 4 and not together and time.monotonic() < ends:
            await asyncio.sleep(0.01)
        together.append(running)
        running -= 1

    async def run() -> None:
        async with AsyncClient() as client:
            await client.inbox(box.name).consume(handle, concurrency=4, until_empty=True)

    asyncio.run(run())
    assert max(together) == 4
    box.wait_for(0)


def test_what_fails_comes_again_later_and_says_so(box: Box) -> None:
    box.fill(3)
    seen: list[tuple[int, int]] = []

    def handle(event: InboxEvent) -> None:
        seen.append((event.data, event.leases))
        if event.leases == 1:
            raise ValueError("not today")

    box.client.inbox(box.name).consume(handle, retry_delay=0.05, until_empty=True)
    assert sorted(seen) == [(number, lease) for number in range(3) for lease in (1, 2)]
    box.wait_for(0)


def test_a_lease_is_extended_while_the_handler_runs(box: Box) -> None:
    box.fill(1)
    seen: list[int] = []

    def handle(event: InboxEvent) -> None:
        seen.append(event.leases)
        # Longer than the lease: what is seen by others after that shows whether it was extended.
        ends = time.monotonic() + 2.5
        while time.monotonic() < ends:
            assert box.client.inbox(box.name).lease(max=1).events == []
            time.sleep(0.2)

    box.client.inbox(box.name).consume(handle, lease_seconds=1, until_empty=True)
    assert seen == [1]
    box.wait_for(0)


def test_sigterm_lets_the_handler_end_and_gives_the_rest_back(box: Box) -> None:
    box.fill(20)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, box.name, "0.3", "30"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("began")
        process.send_signal(signal.SIGTERM)
        output = process.stdout.read().split("\n")
        assert process.wait(30) == 0
    ended = [line for line in output if line.startswith("ended")]
    assert output[-2:] == ["stopped", ""]
    began = 1 + sum(line.startswith("began") for line in output)
    assert len(ended) == began
    # All others are there for the next consumer, at once.
    left = box.client.inbox(box.name).lease(max=100)
    assert len(left.events) == 20 - len(ended)


def test_what_a_killed_consumer_held_comes_again_and_nothing_is_lost(box: Box, tmp_path: Path) -> None:
    box.fill(10)
    output = tmp_path / "output"
    with output.open("w") as file:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, box.name, "0.2", "2"], stdout=file)
        ends = time.monotonic() + 60
        while "ended" not in output.read_text():
            assert time.monotonic() < ends
            time.sleep(0.02)
        process.kill()
        process.wait()
    begun = [line.split()[1] for line in output.read_text().splitlines() if line.startswith("began")]
    seen: Counter[int] = Counter()
    repeated: set[int] = set()

    def handle(event: InboxEvent) -> None:
        seen[event.data] += 1
        if event.leases > 1:
            repeated.add(event.data)

    ends = time.monotonic() + 60
    while len({*seen, *map(int, begun)}) < 10 or [*box.client.inbox(box.name).list()]:
        assert time.monotonic() < ends
        box.client.inbox(box.name).consume(handle, until_empty=True)
    assert {*seen, *map(int, begun)} == {*range(10)}
    # Whoever gets one that was begun before is told.
    assert {number for number in seen if str(number) in begun} <= repeated


EVENT = {"id": "e-1", "type": "t", "data": 1, "source": None, "subject": None, "time": None, "attributes": None}
EVENT |= {"idempotency_key": None, "received_at": "2026-11-23T10:00:00Z", "schema_errors": None}
LEASED = {**EVENT, "status": "pending", "leases": 1, "leased_until": None}
ACKNOWLEDGED = Answer(200, {"acknowledged": ["e-1"], "already_acknowledged": [], "stale": [], "unknown": []})


def test_leases_wait_where_the_platform_can_wait(server: Server) -> None:
    waits: list[int] = []
    acknowledged = threading.Event()

    def old_platform(request: Request) -> Answer:
        if request.path.startswith("/api/v1/inbox/ack"):
            acknowledged.set()
            return ACKNOWLEDGED
        waits.append(json.loads(request.body).get("wait_seconds", 0))
        if waits[-1]:
            errors = [{"pointer": "/wait_seconds", "code": "unknown_field", "detail": "There is no such field."}]
            refusal = problem(422, "validation_failed")
            return Answer(422, {**refusal.body, "errors": errors}, refusal.headers)
        events = [] if len(waits) > 2 else [LEASED]
        return Answer(200, {"lease_id": "l-1" if events else None, "expires_at": None, "events": events})

    server.otherwise = old_platform
    asyncio.run(consume_until(acknowledged, server, AsyncMock()))
    assert waits[:2] == [20, 0]


async def consume_until(over: threading.Event, server: Server, handler: AsyncMock, **options: Any) -> None:
    async with AsyncClient(server.url, "k") as client:
        consuming = asyncio.create_task(client.inbox().consume(handler, **options))
        assert await asyncio.to_thread(over.wait, 20)
        consuming.cancel()
        await asyncio.wait([consuming])


@pytest.mark.parametrize("still_held", [True, False])
def test_a_lease_that_came_after_a_long_wait_is_held_if_the_platform_says_so(server: Server, still_held: bool) -> None:
    """Such as a wait of 20 s for a lease of 3 s: nobody but the platform knows when it began."""
    leased, over = threading.Event(), threading.Event()

    def waiting_platform(request: Request) -> Answer:
        action = request.path.partition("?")[0].rpartition("/")[2]
        if action == "lease" and not leased.is_set():
            leased.set()
            time.sleep(1.1)
            return Answer(200, {"lease_id": "l-1", "expires_at": None, "events": [LEASED]})
        if action == "extend" and still_held:
            return Answer(200, {"lease_id": "l-1", "expires_at": "2026-11-23T10:00:00Z", "extended": 1})
        if action == "extend":
            return problem(404, "not_found")
        # It goes on: with the acknowledgement, or with the next lease.
        over.set()
        return ACKNOWLEDGED if action == "ack" else Answer(200, {"lease_id": None, "expires_at": None, "events": []})

    server.otherwise = waiting_platform
    handler = AsyncMock()
    asyncio.run(consume_until(over, server, handler, lease_seconds=1))
    assert handler.await_count == (1 if still_held else 0)


def test_an_inbox_that_is_not_there_is_an_error(platform: Client) -> None:
    with pytest.raises(ProblemError, match="not_found"):
        platform.inbox("nobody-made-it").consume(print)


def test_it_waits_for_the_next_event_until_it_is_cancelled(box: Box) -> None:
    arrived = threading.Event()

    async def handle(event: InboxEvent) -> None:
        arrived.set()

    async def run() -> None:
        async with AsyncClient() as client:
            consuming = asyncio.create_task(client.inbox(box.name).consume(handle))
            await client.events.send(box.type, 1)
            assert await asyncio.to_thread(arrived.wait, 60)
            consuming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await consuming

    asyncio.run(run())
    box.wait_for(0)
