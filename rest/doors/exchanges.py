"""One request and its answer, between a connection and the ASGI application."""

import asyncio
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Protocol

from core import bounds
from rest.doors.asgi import Application, ConnectionScope

logger = logging.getLogger(__name__)

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_WITHOUT_BODY = frozenset({204, 304})
_GONE = {"type": "http.disconnect"}


class Wire(Protocol):
    """What an exchange needs of its connection."""

    transport: asyncio.Transport

    @property
    def date(self) -> bytes:
        """The header field Date, with its end of line."""

    @property
    def is_ending(self) -> bool:
        """Whether the process ends: no answer promises to keep a connection then."""

    async def drain(self) -> None:
        """Wait until the client has read enough of what was written."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def exchange_over(self) -> None:
        """The answer is written whole."""

    def exchange_failed(self) -> None:
        """The application has ended without a whole answer."""


class Exchange:
    """`receive` and `send` are those of the application."""

    __slots__ = (
        "_chunked",
        "_expects_continue",
        "_head",
        "_is_taken",
        "_left",
        "_parts",
        "_size",
        "_waiter",
        "_wire",
        "has_begun",
        "is_gone",
        "is_over",
        "is_received",
        "keeps_connection",
        "scope",
        "task",
    )

    def __init__(
        self, wire: Wire, scope: ConnectionScope, *, keeps_connection: bool, expects_continue: bool = False
    ) -> None:
        self._wire = wire
        self.scope = scope
        self.keeps_connection = keeps_connection
        self._expects_continue = expects_continue
        self.task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        # Of the body, what the application has not taken yet; whether all of it has come, and was taken.
        self._parts: list[bytes] = []
        self._size = 0
        self.is_received = self._is_taken = False
        # Of the answer: whether it has begun, and is over; its head while that waits for what follows at once, so that
        # both are one system call; how many bytes it still promises.
        self.has_begun = self.is_over = False
        self._head = b""
        self._chunked = False
        self._left = 0
        # The client has gone.
        self.is_gone = False

    async def run(self, application: Application) -> None:
        try:
            await application(self.scope, self.receive, self.send)
        except Exception:
            logger.exception("A request failed")
        if not (self.is_over or self.is_gone):
            self._wire.exchange_failed()

    # --- The request ---------------------------------------------------------------------------------------------

    def take(self, part: bytes) -> None:
        """A part of the body has come. What nobody will read is dropped."""
        if self.is_over:
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > bounds.MAX_READ_AHEAD_BYTES:
            self._wire.pause_reading()
        self._wake()

    def end_body(self) -> None:
        self.is_received = True
        self._wake()

    def leave(self) -> None:
        """The client has gone, or is taken to have."""
        self.is_gone = True
        self._parts.clear()
        self._wake()

    @property
    def awaits_body(self) -> bool:
        """Whether the application waits for more of it at this moment."""
        return self._waiter is not None and not self.is_received

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Mapping[str, Any]:
        """The body as far as it has come; when all of it was taken, that the client has gone or the answer is over."""
        if self._expects_continue and not self.has_begun:
            self._wire.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._expects_continue = False
        while not (self.is_gone or self.is_over):
            if self._parts or (self.is_received and not self._is_taken):
                body = b"".join(self._parts)
                self._parts.clear()
                self._size = 0
                self._is_taken = self.is_received
                self._wire.resume_reading()
                return {"type": "http.request", "body": body, "more_body": not self.is_received}
            self._wire.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return _GONE

    # --- The answer ----------------------------------------------------------------------------------------------

    async def send(self, message: Mapping[str, Any]) -> None:
        await self._wire.drain()
        if self.is_gone:
            return
        if message["type"] == "http.response.start":
            self._begin(message["status"], message.get("headers", ()))
        else:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))

    def _begin(self, status: int, headers: Any) -> None:
        if self.has_begun:
            raise RuntimeError("The answer has begun already")
        self._left = -1
        lines = [_STATUS_LINES[status], self._wire.date]
        says_close = False
        for name, value in headers:
            lower = name.lower()
            if lower == b"content-length":
                self._left = int(value)
            elif lower == b"connection":
                says_close = says_close or value.lower() == b"close"
            lines.append(b"%b: %b\r\n" % (name, value))
        if says_close or self._wire.is_ending:
            self.keeps_connection = False
        if self.scope["method"] == "HEAD" or status in _WITHOUT_BODY:
            self._left = 0
        elif self._left < 0:
            self._begin_unbounded(lines)
        if not self.keeps_connection and not says_close:
            lines.append(b"Connection: close\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            raise RuntimeError("A header field of the answer has a line break in it")
        self.has_begun = True
        self._head = head + b"\r\n"
        asyncio.get_running_loop().call_soon(self._write, b"")

    def _write(self, body: bytes) -> None:
        if self._head:
            self._wire.transport.writelines((self._head, body))
            self._head = b""
        elif body:
            self._wire.transport.write(body)

    def _begin_unbounded(self, lines: list[bytes]) -> None:
        """In chunks, or up to the end of the connection where chunks are not known."""
        if self.scope["http_version"] == "1.0":
            self.keeps_connection = False
        else:
            self._chunked = True
            lines.append(b"Transfer-Encoding: chunked\r\n")

    def _go_on(self, body: bytes, *, more: bool) -> None:
        if not self.has_begun or self.is_over:
            raise RuntimeError("There is no answer that this could be a part of")
        if self.scope["method"] == "HEAD":
            body = b""
        if self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        elif self._left >= 0:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("The answer is not as long as its Content-Length")
        self._write(body)
        if not more:
            self.is_over = True
            self._parts.clear()
            self._wake()
            self._wire.exchange_over()
