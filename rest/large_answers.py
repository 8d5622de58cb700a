"""Answers that may be large: made in chunks, and sent chunk by chunk once they are more than one portion.

A web process holds a portion of an answer, never the whole: the database bounds what it hands over
(core.postgresql.portions), and no next chunk is read before the client has taken the one before. What goes beyond a
portion needs a Slot, of which a process has few and an organization fewer. Who gets none is not refused: its page ends
with the portion, and its cursor leads on.
"""

import asyncio
import re
import zlib
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from core.turns import Owner, fair_time
from rest.doors.shares import Budget, Held
from rest.doors.threads import for_streams

# What an answer holds at most: the lists end their page before it, a lease takes no more. One row may be larger.
MAX_BYTES = 16 * 1024 * 1024
# What is in memory of an answer at a time; about three times as much for a moment, while it is read and encoded.
PORTION_BYTES = 512 * 1024
MAX_SLOTS = 32
MAX_SLOTS_EACH = 8
# A client that takes an answer more slowly loses it, so that nobody holds slots by reading a byte a second.
TAKEN_WITHIN_SECONDS = 300.0
_JSON = "application/json"
# RFC 9110, 12.5.3; a weight of zero refuses it.
_TAKES_GZIP = re.compile(r"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))|,|$)", re.IGNORECASE)
# The fastest: JSON becomes a fifth or less by any of them.
_LEVEL = 1


class Slot(Held):
    """The right to make an answer of more than a portion; `owner` is the organization that it is for."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(_slots, owner)


_slots = Budget(total=MAX_SLOTS, share=MAX_SLOTS_EACH)


def json_members(before: dict[str, Any], name: str, portions: Iterable[list[bytes]]) -> Iterator[bytes]:
    """The chunks of a JSON object, up to the end of its member `name`: a list, whose items come encoded."""
    head = msgspec.json.encode(before)[:-1] + (b"," if before else b"")
    yield head + msgspec.json.encode(name) + b":["
    is_first = True
    for items in portions:
        if items:
            yield (b"" if is_first else b",") + b",".join(items)
            is_first = False
    yield b"]"


def answer_of(request: HttpRequest, chunks: Iterator[bytes], slot: Slot) -> HttpResponseBase:
    """A whole answer, or one that is streamed from the moment that making it has taken the slot; in gzip for who asks.

    It is compressed as it is made, a chunk at a time: in the same thread, and on the same account.
    """
    is_packed = bool(_TAKES_GZIP.search(request.headers.get("Accept-Encoding", "")))
    if is_packed:
        chunks = _packed(chunks)
    response = _whole_or_streamed(request, chunks, slot)
    if is_packed:
        response["Content-Encoding"] = "gzip"
    patch_vary_headers(response, ["Accept-Encoding"])
    return response


def _packed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Each chunk is whole in what is made of it, and none is empty."""
    packer = zlib.compressobj(level=_LEVEL, wbits=16 + zlib.MAX_WBITS)
    for chunk in chunks:
        yield packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def _whole_or_streamed(request: HttpRequest, chunks: Iterator[bytes], slot: Slot) -> HttpResponseBase:
    begun: deque[bytes] = deque()
    for chunk in chunks:
        begun.append(chunk)
        if slot.is_held:
            return _streamed(request, begun, chunks, slot)
    return HttpResponse(b"".join(begun), content_type=_JSON)


def _streamed(request: HttpRequest, begun: deque[bytes], chunks: Iterator[bytes], slot: Slot) -> HttpResponseBase:
    if not isinstance(request, ASGIRequest):
        return StreamingHttpResponse(chain(begun, chunks), content_type=_JSON)
    return StreamingHttpResponse(sent(chunks, slot, begun=begun), content_type=_JSON)


async def sent(
    chunks: Iterator[bytes], slot: Slot, *, begun: deque[bytes] | None = None, seconds: float = TAKEN_WITHIN_SECONDS
) -> AsyncIterator[bytes]:
    """For an answer that is streamed: each chunk is made when the client has taken the one before.

    What making it computes is the owner's, as in Django. Ends after `seconds` as if the client had gone, and gives the
    slot back.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - Django sends an answer within one
    deadline = asyncio.get_running_loop().call_later(seconds, task.cancel)
    try:
        while begun:
            yield begun.popleft()
        read = for_streams(lambda: next(chunks, b""), slot.owner)
        while True:
            chunk, took = await read()
            if not chunk:
                return
            yield chunk
            fair_time.spend(slot.owner, took)
            await fair_time.pause(slot.owner)
    finally:
        deadline.cancel()
        slot.give_back()
