"""Following events: what comes over one connection after the other, each from the last event on."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from conftest import KEY, Answer, Server, problem

from events_client import AsyncClient, Client, ProblemError

FIRST, SECOND, THIRD = (f"019a1b2c-3d4e-7f50-8a6b-00000000000{number}" for number in (1, 2, 3))
REVOKED = problem(401, "api_key_revoked")


def streamed(*ids: str) -> Answer:
    """A stream as the platform writes it, which then ends."""
    members = {"type": "t", "data": 1, "source": None, "subject": None, "time": None, "attributes": None}
    members |= {"idempotency_key": None, "received_at": "2026-11-23T10:00:00Z", "schema_errors": None}
    events = [json.dumps({"id": each, **members, "status": "accepted", "deliver_at": None}) for each in ids]
    blocks = [f"id: {each}\nevent: event\ndata: {text}\n\n:\n\n" for each, text in zip(ids, events, strict=True)]
    text = "retry: 1000\n\n" + "".join(blocks)
    return Answer(200, text.encode(), {"Content-Type": "text/event-stream"})


Follow = Callable[..., tuple[list[str], str]]


@pytest.fixture(params=["sync", "async"])
def follow(request: pytest.FixtureRequest, server: Server) -> Follow:
    """Follows with a client of either kind until an error ends it; returns the ids, and the error's code."""

    def in_threads(seen: list[str], options: dict[str, Any]) -> None:
        with Client(server.url, KEY) as client:
            for event in client.events.stream(**options):
                seen.append(event.id)  # noqa: PERF401 - what came before the error counts

    async def in_asyncio(seen: list[str], options: dict[str, Any]) -> None:
        async with AsyncClient(server.url, KEY) as client:
            async for event in client.events.stream(**options):
                seen.append(event.id)  # noqa: PERF401 - as above

    def until_refused(**options: Any) -> tuple[list[str], str]:
        seen: list[str] = []
        with pytest.raises(ProblemError) as raised:
            in_threads(seen, options) if request.param == "sync" else asyncio.run(in_asyncio(seen, options))
        return seen, raised.value.code

    return until_refused


def test_a_stream_that_ends_goes_on_after_its_last_event(server: Server, follow: Follow) -> None:
    busy = problem(429, "too_many_streams", Retry_After="0")
    server.script.extend([streamed(FIRST, SECOND), busy, Answer(broken=True), streamed(THIRD), REVOKED])
    assert follow(type="invoice.*") == ([FIRST, SECOND, THIRD], "api_key_revoked")
    assert {request.path for request in server.requests} == {"/api/v1/events/stream?type=invoice.%2A"}
    assert [request.headers.get("last-event-id") for request in server.requests] == [None, *[SECOND] * 3, THIRD]


def test_a_stream_that_ends_before_its_first_event_goes_on_from_when_it_began(server: Server, follow: Follow) -> None:
    began = int(time.time())
    server.script.extend([streamed(), REVOKED])
    assert follow() == ([], "api_key_revoked")
    asked = uuid.UUID(server.requests[1].headers["last-event-id"])
    assert asked.version == 7
    # The server's `Date`, in whole seconds: the moment of the first answer, which is not after this one.
    assert (asked.int >> 80) % 1000 == 0
    assert began <= (asked.int >> 80) // 1000 <= time.time()


def test_it_begins_after_the_event_that_is_named(server: Server, follow: Follow) -> None:
    server.script.extend([streamed(SECOND), REVOKED])
    assert follow(last_event_id=FIRST) == ([SECOND], "api_key_revoked")
    assert [request.headers["last-event-id"] for request in server.requests] == [FIRST, SECOND]
