"""The buffer: what it sends when, what it does when it cannot, and that it drops nothing."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Answer, Request, Server, accepted, problem

from events_client import AsyncClient, BufferFullError, BufferStoppedError, Client, EventsRefusedError, RefusedEvent

NEVER = 3600.0


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, "k") as made:
        yield made


def numbers(server: Server) -> list[int]:
    return [event["data"] for event in server.sent()]


def test_it_sends_all_of_it_in_order_in_batches(client: Client, server: Server) -> None:
    with client.events.buffer(max_events=10, max_seconds=NEVER) as buffer:
        for number in range(25):
            buffer.send("t", number, subject=f"s{number}")
    assert numbers(server) == [*range(25)]
    assert max(len(request.events()) for request in server.requests) <= 10
    keys = {event["idempotency_key"] for event in server.sent()}
    assert len(keys) == 25


def test_a_single_event_leaves_by_its_age(client: Client, server: Server) -> None:
    with client.events.buffer(max_seconds=0.01) as buffer:
        buffer.send("t", 1)
        wait_for(lambda: numbers(server) == [1])
        assert buffer.pending in {0, 1}


def test_a_batch_ends_at_its_bytes(client: Client, server: Server) -> None:
    with client.events.buffer(max_events=1000, max_seconds=NEVER) as buffer:
        for _ in range(50):
            buffer.send("t", "x" * 200_000)
    assert max(len(request.body) for request in server.requests) < 5 * 1024 * 1024
    assert len(server.sent()) == 50


def test_flush_waits_for_what_was_taken_before(client: Client, server: Server) -> None:
    with client.events.buffer(max_seconds=NEVER) as buffer:
        buffer.send("t", 1)
        buffer.flush(10)
        assert numbers(server) == [1]
        assert buffer.pending == 0


def test_what_is_refused_is_reported(client: Client, server: Server) -> None:
    server.otherwise = refuse_odd_numbers
    with pytest.raises(EventsRefusedError, match=r"2 events were refused.*validation_failed") as raised:  # noqa: PT012, SIM117
        with client.events.buffer() as buffer:
            for number in range(4):
                buffer.send("t", number)
    assert [b'"data":%d' % number in each.event for number, each in zip((1, 3), raised.value.refused, strict=True)] == [
        True,
        True,
    ]
    told: list[RefusedEvent] = []
    with client.events.buffer(on_refused=told.append) as buffer:
        buffer.send("t", 5)
    assert [each.problem.code for each in told] == ["validation_failed"]


def refuse_odd_numbers(request: Request) -> Answer:
    answer = accepted(request)
    error = {"code": "validation_failed", "status": 422, "title": "", "detail": "odd"}
    for result, event in zip(answer.body["results"], request.events(), strict=True):
        if event["data"] % 2:
            result.update(id=None, status="rejected", error=error)
    all_refused = all(event["data"] % 2 for event in request.events())
    return Answer(422 if all_refused else 202, answer.body)


def test_a_full_buffer_raises_or_waits_until_the_platform_is_back(client: Client, server: Server) -> None:
    back = threading.Event()

    def away(request: Request) -> Answer:
        return accepted(request) if back.is_set() else problem(503, "service_unavailable", Retry_After="0")

    server.otherwise = away
    with client.events.buffer(max_events=1, max_pending=3, when_full="raise") as buffer:
        for number in range(3):
            buffer.send("t", number)
        with pytest.raises(BufferFullError):
            buffer.send("t", 3)
        with client.events.buffer(max_events=1, max_pending=1) as waiting:
            waiting.send("t", 10)
            waiter = threading.Thread(target=waiting.send, args=("t", 11))
            waiter.start()
            back.set()
            waiter.join(20)
            assert not waiter.is_alive()
    assert {0, 1, 2, 10, 11} <= set(numbers(server))


def test_a_refused_key_stops_it_and_hands_everything_back(client: Client, server: Server) -> None:
    server.otherwise = lambda _: problem(401, "api_key_revoked")
    buffer = client.events.buffer(max_seconds=0.0)
    buffer.send("t", 1)
    with pytest.raises(BufferStoppedError, match="api_key_revoked"):
        buffer.flush(10)
    with pytest.raises(BufferStoppedError, match="api_key_revoked"):
        buffer.send("t", 2)
    with pytest.raises(BufferStoppedError, match="1 events could not be sent") as raised:
        buffer.close()
    assert len(raised.value.unsent) == 1
    buffer.close()


def test_its_time_to_close_is_bounded_and_what_is_left_is_handed_back(client: Client, server: Server) -> None:
    server.otherwise = lambda _: problem(503, "service_unavailable", Retry_After="60")
    buffer = client.events.buffer(close_seconds=0.1)
    buffer.send("t", 1)
    with pytest.raises(BufferStoppedError) as raised:
        buffer.close()
    assert len(raised.value.unsent) == 1
    with pytest.raises(BufferStoppedError, match="closed"):
        buffer.send("t", 2)


@pytest.mark.parametrize("status", [413, 429])
def test_a_batch_that_is_too_large_is_made_smaller(client: Client, server: Server, status: int) -> None:
    def small_ones(request: Request) -> Answer:
        return accepted(request) if len(request.events()) <= 3 else problem(status, "too_much", Retry_After="0")

    server.otherwise = small_ones
    with client.events.buffer(max_events=12, max_seconds=NEVER) as buffer:
        buffer._client.settings = type(client.settings)(**{**vars(client.settings), "retry_seconds": 0.0})
        for number in range(12):
            buffer.send("t", number)
    assert [
        event["data"] for request in server.requests if len(request.events()) <= 3 for event in request.events()
    ] == [*range(12)]


def test_it_is_flushed_when_the_program_ends(server: Server) -> None:
    program = (
        f"from events_client import Client\nb = Client({server.url!r}, 'k').events.buffer(max_seconds=3600)\n"
        "for n in range(5): b.send('t', n)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert numbers(server) == [*range(5)]


def test_asyncio_has_the_same(server: Server) -> None:
    server.otherwise = accepted

    async def run() -> None:
        async with AsyncClient(server.url, "k") as client, client.events.buffer(max_events=2, max_pending=2) as buffer:
            for number in range(20):
                await buffer.send("t", number)
            await buffer.flush(10)

    asyncio.run(run())
    assert numbers(server) == [*range(20)]


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)
