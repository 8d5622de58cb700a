"""Answers that stay open and send what is new: server-sent events.

A stream looks for something new every LOOK_SECONDS and sends it. Under ASGI it stays open for STREAM_SECONDS, then the
browser asks again by itself, from the id of the last message on. Where a stream cannot be held (WSGI; MAX_STREAMS of
them in this process; a process that ends) it is one look long: the browser asks again after RETRY_MS, so the page goes
on, only less cheaply.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from rest.threads import for_streams

MEDIA_TYPE = "text/event-stream"
LOOK_SECONDS = 1.0
STREAM_SECONDS = 300.0
RETRY_MS = 1_000
# A line without meaning, so that no proxy takes a quiet stream for a dead one.
KEEP_ALIVE_SECONDS = 15.0
# Each has a thread and one of the database's connections for a few milliseconds of each second.
MAX_STREAMS = 50


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
    """Those that this process holds."""

    def __init__(self) -> None:
        self.held = 0
        self.are_ending = False

    @property
    def can_hold(self) -> bool:
        return not self.are_ending and self.held < MAX_STREAMS


_streams = _Streams()


def end_streams() -> None:
    """This process ends: each stream ends after its next look, and no new one is held."""
    _streams.are_ending = True


def stream_answer(request: HttpRequest, look: Look, *, cursor: str) -> StreamingHttpResponse:
    """The answer to a browser's EventSource; a cursor that this sends back goes before `cursor`."""
    cursor = request.headers.get("Last-Event-ID") or cursor
    held = isinstance(request, ASGIRequest)
    messages = _held(look, cursor) if held else _one(look, cursor)
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


async def _held(look: Look, cursor: str) -> AsyncIterator[str]:
    ends_at = time.monotonic() + (STREAM_SECONDS if _streams.can_hold else 0.0)
    _streams.held += 1
    try:
        yield f"retry: {RETRY_MS}\n\n"
        sent, sent_at, looked = "", time.monotonic(), for_streams(look)
        while True:
            message = await looked(cursor)
            cursor = message.cursor
            if message.text != sent or time.monotonic() - sent_at >= KEEP_ALIVE_SECONDS:
                yield _text_of(message) if message.text != sent else ":\n\n"
                sent, sent_at = message.text, time.monotonic()
            if _streams.are_ending or time.monotonic() >= ends_at:
                return
            await asyncio.sleep(LOOK_SECONDS)
    except StreamEndedError:
        return
    finally:
        _streams.held -= 1


def _text_of(message: Message) -> str:
    lines = "".join(f"data: {line}\n" for line in message.text.splitlines() or [""])
    return f"id: {message.cursor}\n{lines}\n"
