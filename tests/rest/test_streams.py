"""Answers that stay open, and what one who opens many of them leaves to others."""

import asyncio
import threading
from io import BytesIO
from types import SimpleNamespace
from typing import Any

from django.core.handlers.asgi import ASGIRequest

from rest.doors.streams import MAX_STREAMS_OF_ONE, Look, Message, stream_answer


def test_streams_of_one_address_look_one_after_the_other_and_others_beside_them() -> None:
    """Those as well that are not held, of which there may be any number."""
    may_end, lock = threading.Event(), threading.Lock()
    looking = most = 0

    def look_for_long(_: str) -> Message:
        nonlocal looking, most
        with lock:
            looking += 1
            most = max(most, looking)
        may_end.wait(30)
        with lock:
            looking -= 1
        return Message(cursor="1", text="late")

    async def open_streams() -> None:
        greedy = [asyncio.ensure_future(_first(look_for_long, "192.0.2.1")) for _ in range(2 * MAX_STREAMS_OF_ONE)]
        while not looking:
            await asyncio.sleep(0.01)
        other = await asyncio.wait_for(_first(lambda _: Message(cursor="2", text="soon"), "198.51.100.1"), 20)
        assert other == "id: 2\ndata: soon\n\n"
        may_end.set()
        assert await asyncio.gather(*greedy) == ["id: 1\ndata: late\n\n"] * len(greedy)

    asyncio.run(open_streams())
    assert most == 1


async def _first(look: Look, address: str) -> str:
    """What a stream sends first, after how soon to come again."""
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "client": [address, 1]}
    request: Any = ASGIRequest(scope, BytesIO())
    request.user = SimpleNamespace(pk=address)
    messages: Any = aiter(stream_answer(request, look, cursor="0").streaming_content)  # type: ignore[arg-type]
    assert (await anext(messages)).startswith(b"retry: ")
    message: bytes = await anext(messages)
    await messages.aclose()
    return message.decode()
