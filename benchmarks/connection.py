"""A client's HTTP/1.1 connection: one request at a time, reopened when the server closes it."""

import asyncio
import re
from dataclasses import dataclass
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of an answer and its body, in which chunks keep their headers."""

    status: int
    body: bytes


class Connection:
    """Sends requests to `host:port`, connecting when there is no open connection."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._wire: _Wire | None = None

    async def exchange(self, request: bytes) -> Answer:
        """Send and await the answer. Raises OSError when there is none."""
        if self._wire is None or self._wire.closed:
            _, self._wire = await asyncio.get_running_loop().create_connection(_Wire, *self._address)
        return await self._wire.send(request)

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()


class _Wire(asyncio.Protocol):
    """One TCP connection, never reused after it is closed."""

    def __init__(self) -> None:
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> "asyncio.Future[Answer]":
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0 or self._answer is None or self._answer.done():
            return
        head, body_start = bytes(self._received[:head_end]), head_end + 4
        if self._complete(head, body_start):
            if _CLOSE.search(head):
                self.close()
            self._answer.set_result(Answer(int(head[9:12]), bytes(self._received[body_start:])))
            self._received.clear()

    def _complete(self, head: bytes, body_start: int) -> bool:
        if length := _LENGTH.search(head):
            return len(self._received) - body_start >= int(length[1])
        return bool(_CHUNKED.search(head)) and self._received.endswith(b"0\r\n\r\n")

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the server closed the connection without an answer"))
