"""Answers that stay open and send what is new: server-sent events.

A stream looks for something new every LOOK_SECONDS and sends it. Under ASGI it stays open for STREAM_SECONDS, then the
browser asks again by itself, from the id of the last message on. Where a stream cannot be held it is one look long and
the browser asks again, so the page goes on, only less cheaply: after RETRY_MS under WSGI or where a process ends, after
CROWDED_RETRY_MS where the process, or the person, has as many as it may.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from core import bounds
from core.problems import Problem
from core.turns import Owner, fair_time
from rest.doors.client_address import client_network
from rest.doors.shares import Budget, Places
from rest.doors.threads import for_streams

MEDIA_TYPE = "text/event-stream"
LOOK_SECONDS = 1.0
STREAM_SECONDS = 300.0
RETRY_MS = 1_000
# A line without meaning, so that no proxy takes a quiet stream for a dead one.
KEEP_ALIVE_SECONDS = 15.0
# Each has a thread and one of the database's connections for a few milliseconds of each second.
MAX_STREAMS, MAX_STREAMS_OF_ONE = 50, 6
# When those that were not held may look again.
CROWDED_RETRY_MS = 10_000


@dataclass(frozen=True, kw_only=True)
class Message:
    """`text` goes to the page; `cursor` is where the next look begins."""

    cursor: str
    text: str


class StreamEndedError(Exception):
    """Whoever looks may not look any more, or there is nothing more to see."""


# What came after a cursor. Raises StreamEndedError.
Look = Callable[[str], Message]


class _Streams:
    """Those that this process holds, by the person who looks."""

    def __init__(self) -> None:
        self.budget = Budget(total=MAX_STREAMS, share=MAX_STREAMS_OF_ONE)
        self.are_ending = False


_streams = _Streams()
# Streams of one address look one after the other, and pause as its requests do: those that are not held, too, of which
# it may begin any number.
_looks = Places(total=bounds.MAX_STREAM_READS, share=1, fair_time=fair_time)


def end_streams() -> None:
    """This process ends: each stream ends after its next look, and no new one is held."""
    _streams.are_ending = True


def are_ending() -> bool:
    """Whether what stays open ought to end."""
    return _streams.are_ending


def stream_answer(request: HttpRequest, look: Look, *, cursor: str) -> StreamingHttpResponse:
    """The answer to a browser's EventSource; a cursor that this sends back goes before `cursor`."""
    cursor = request.headers.get("Last-Event-ID") or cursor
    can_stay = isinstance(request, ASGIRequest)
    visitor = client_network(request)
    messages = _held(look, cursor, request.user.pk, visitor) if can_stay else _one(look, cursor)
    answer = StreamingHttpResponse(messages, content_type=MEDIA_TYPE)
    answer["X-Accel-Buffering"] = "no"
    return answer


def wants_stream(request: HttpRequest) -> bool:
    return request.headers.get("Accept") == MEDIA_TYPE


def _one(look: Look, cursor: str) -> Iterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    try:
        yield _text_of(look(cursor))
    except StreamEndedError:
        return


async def _held(look: Look, cursor: str, owner: Owner, visitor: Owner) -> AsyncIterator[str]:
    is_held = _streams.budget.try_take(owner)
    ends_at = time.monotonic() + (STREAM_SECONDS if is_held else 0.0)
    try:
        yield f"retry: {RETRY_MS if is_held else CROWDED_RETRY_MS}\n\n"
        sent, sent_at, looked = "", time.monotonic(), for_streams(look, visitor)
        while True:
            async with _looks.place(visitor, seconds=KEEP_ALIVE_SECONDS):
                message, took = await looked(cursor)
                fair_time.spend(visitor, took)
            cursor = message.cursor
            if message.text != sent or time.monotonic() - sent_at >= KEEP_ALIVE_SECONDS:
                yield _text_of(message) if message.text != sent else ":\n\n"
                sent, sent_at = message.text, time.monotonic()
            if _streams.are_ending or time.monotonic() >= ends_at:
                return
            await asyncio.sleep(LOOK_SECONDS)
    except (StreamEndedError, Problem):
        # Too many wait to look: the browser asks again.
        return
    finally:
        if is_held:
            _streams.budget.give_back(owner)


def _text_of(message: Message) -> str:
    lines = "".join(f"data: {line}\n" for line in message.text.splitlines() or [""])
    return f"id: {message.cursor}\n{lines}\n"
