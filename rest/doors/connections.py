"""HTTP/1.1 connections: httptools takes requests apart; here they are held to time and size, and answered.

Whatever is no request of HTTP/1.1 is refused by a problem document. A connection is looked at once a second, so its
bounds in time cost a request nothing: `look` compares what the connection waits for with what it waited for at the look
before. The numbers are in `core/bounds.py`.
"""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import httptools
from uvicorn import Config
from uvicorn.server import ServerState

from core import bounds
from core.problems import Problem, problem_for_status
from core.turns import Owner
from rest.doors.asgi import PUT_OFF, ConnectionScope
from rest.doors.client_address import network_of_peer
from rest.doors.exchanges import Exchange
from rest.middleware import request_id_of
from rest.problems import MEDIA_TYPE, problem_body

logger = logging.getLogger(__name__)

_HTTP_VERSIONS = frozenset({"1.0", "1.1"})
# The field that says how long the body is.
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_NO_BODY = (b"content-length", b"0")
_CROWDED = "Too many connections are open"
_LONG_HEAD = f"Request line and header fields are over {bounds.MAX_HEAD_BYTES} bytes"


class Refusal(Exception):  # noqa: N818 - it is nobody's error but the client's
    """What came is not answered by the application."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


class Wait(NamedTuple):
    """What a connection waits for: `what`, and a number that changes when it gets it."""

    what: str
    number: int


class Connections:
    """Those of a process: `added` is called with each new one."""

    def __init__(self, added: Callable[["Connection"], None]) -> None:
        # The oldest first.
        self.all: dict[Connection, None] = {}
        self.added = added
        self.clock = Clock()
        self.date = _date()
        # What sockets are read into. It is parsed at once, so one is enough for all.
        self.buffer = memoryview(bytearray(bounds.BODY_READ_BYTES))
        # How long one stays open on which nothing is asked.
        self.keep_seconds = 0.0
        # From here on each answer says that its connection closes.
        self.are_ending = False

    def look(self) -> None:
        """Call it every LOOK_SECONDS."""
        self.date = _date()
        now = self.clock.advance()
        for connection in list(self.all):
            try:
                connection.look(now)
            except Exception:
                logger.exception("A connection could not be looked after")
                connection.transport.abort()


class Connection(asyncio.BufferedProtocol):
    """One connection; uvicorn makes it with `config`, `server_state` and so on, behind `connections`."""

    def __init__(
        self,
        connections: Connections,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._connections = connections
        self._application: Any = config.loaded_app
        self._server_state = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self._server: tuple[str, int] | None = None
        self._client: tuple[str, int] | None = None
        # Of the request that is being read: its target, its fields, and which of them says how long its body is;
        # whether its head is being read, of how many bytes so far and at least; whether its body is, of how many parts
        # and bytes, and of how many bytes with all that frames them.
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._framing = _NO_BODY
        self._expects_continue = False
        self._in_head = False
        self._head_bytes = self._head_size = 0
        self._in_body = False
        self._body_bytes = self._body_parts = self._framed_bytes = 0
        # The request that is answered, those behind it, and the newest, which is the one that is being read.
        self._exchange: Exchange | None = None
        self._pipeline: deque[Exchange] = deque()
        self._newest: Exchange | None = None
        self._requests = 0
        self._closing = False
        # Nothing more is read, as it could not be understood.
        self._is_deaf = False
        self._reading_paused = False
        # Awaited by answers while the client has not read enough; how often it went on reading.
        self._readable: asyncio.Future[None] | None = None
        self._resumed = 0
        self._wait = Wait("", 0)
        self.waits_since = 0.0
        self._body_bytes_then = 0
        self._requests_at_last_look = 0

    # --- Its life ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvicorn serves sockets
        self._server = _address(transport.get_extra_info("sockname"))
        self._client = _address(transport.get_extra_info("peername"))
        self.waits_since = self._connections.clock.now
        self._server_state.connections.add(self)  # type: ignore[arg-type] # of its own kinds
        self._connections.all[self] = None
        self._connections.added(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever works on a request is told; who does not notice is ended a little later."""
        self._server_state.connections.discard(self)
        self._connections.all.pop(self, None)
        self._closing = True
        self._pipeline.clear()
        self.resume_writing()
        exchange = self._exchange
        if exchange is not None and not exchange.is_over:
            exchange.leave()
            if exchange.task is not None:
                self._loop.call_later(bounds.GONE_SECONDS, exchange.task.cancel)

    def shutdown(self) -> None:
        """The server ends; `close_if_still_idle` and the answers close the connections."""

    def close_if_still_idle(self) -> None:
        """When nothing was asked since the look before."""
        if self._waits_for().what in ("request", "head") and self._requests == self._requests_at_last_look:
            self.transport.close()
        self._requests_at_last_look = self._requests

    def close(self) -> None:
        """In the middle of a request it waits a moment, unread.

        Bytes that nobody has read turn the end into a reset, which may overtake the answer.
        """
        if self._closing:
            return
        self._closing = True
        if not (self._in_body or self._in_head or self._is_deaf):
            self.transport.close()
            return
        self.pause_reading()
        with suppress(OSError, RuntimeError):
            self.transport.write_eof()

    # --- Flow ----------------------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused and not (self._closing or self._is_deaf or self._pipeline):
            self._reading_paused = False
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        self._readable = self._loop.create_future()

    def resume_writing(self) -> None:
        self._resumed += 1
        if self._readable is not None:
            self._readable.set_result(None)
            self._readable = None

    async def drain(self) -> None:
        if self._readable is not None:
            await asyncio.shield(self._readable)

    # --- Requests ------------------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        is_awaited = self._newest is not None and self._newest.awaits_body
        return self._connections.buffer[: bounds.BODY_READ_BYTES if is_awaited else bounds.READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        if self._closing or self._is_deaf:
            return
        was_in_body = self._in_body
        if was_in_body:
            self._framed_bytes += nbytes
        else:
            self._head_bytes += nbytes
        try:
            self._feed(self._connections.buffer[:nbytes])
        except httptools.HttpParserError as error:
            self._refuse_as(error, error.__context__)
            return
        if not self._in_body and self._head_bytes > bounds.MAX_HEAD_BYTES:
            self.refuse(431, _LONG_HEAD)
        elif was_in_body and self._in_body and self._framing_is_long():
            self.refuse(400, "What frames the chunks of the body is too long")

    def _refuse_as(self, error: httptools.HttpParserError, cause: BaseException | None) -> None:
        """`cause` is what a callback has raised."""
        if isinstance(cause, Refusal):
            self.refuse(cause.status, cause.reason)
        elif cause is None:
            self.refuse(400, "It is not a valid HTTP request")
        else:
            logger.error("A request could not be read: %s", error, exc_info=cause)
            self.refuse(500, "")

    def _feed(self, data: memoryview) -> None:
        """An offer of another protocol is not taken up: what is behind it is HTTP/1.1, as before.

        httptools takes it for the other protocol, a body as well: that is read by a parser of its own, which is told
        its length as if by a head.
        """
        rest = data
        while rest and not self._closing:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]
                if self._in_body:
                    self._parser = httptools.HttpRequestParser(self)
                    self._parser.feed_data(b"POST / HTTP/1.1\r\n%b: %b\r\n\r\n" % self._framing)
            else:
                return

    def on_message_begin(self) -> None:
        if not self._in_body:
            self._in_head = True
            self._head_size = 0
            self._target = b""
            self._fields = []
            self._framing = _NO_BODY
            self._expects_continue = False

    def on_url(self, part: bytes) -> None:
        if self._in_body:
            return
        self._target += part
        if len(self._target) > bounds.MAX_TARGET_BYTES:
            raise Refusal(414, f"The target of the request is over {bounds.MAX_TARGET_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Names with an underscore are nobody's: Django could not tell them from those with a hyphen.

        So are trailers: nobody asks for one.
        """
        if self._in_body:
            return
        size = len(name) + len(value)
        if size > bounds.MAX_FIELD_BYTES:
            raise Refusal(431, f"A header field is over {bounds.MAX_FIELD_BYTES} bytes")
        if len(self._fields) == bounds.MAX_FIELDS:
            raise Refusal(431, f"There are over {bounds.MAX_FIELDS} header fields")
        self._head_size += size + len(b": \r\n")
        name = name.lower()
        if name in _FRAMING:
            self._framing = name, value
        elif name == b"expect":
            self._expects_continue = value.lower() == b"100-continue"
        if b"_" not in name:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        if self._in_body:
            return
        # A body may have come before it, or with it, in one piece.
        if len(self._target) + self._head_size > bounds.MAX_HEAD_BYTES:
            raise Refusal(431, _LONG_HEAD)
        if self._pipeline and not self._has_room_behind():
            raise Refusal(503, "Too many requests came before the first one was answered")
        self._head_bytes = self._body_bytes = self._body_parts = self._framed_bytes = 0
        self._in_head, self._in_body = False, True
        self._requests += 1
        scope = self._scope()
        exchange = Exchange(
            self,
            scope,
            keeps_connection=self._parser.should_keep_alive() and scope["method"] != "CONNECT",
            expects_continue=self._expects_continue,
        )
        self._newest = exchange
        if self._exchange is None or self._exchange.is_over:
            self._begin(exchange)
        else:
            self._pipeline.append(exchange)
            self.pause_reading()

    def _has_room_behind(self) -> bool:
        fields = len(self._fields) + sum(len(waiting.scope["headers"]) for waiting in self._pipeline)
        return len(self._pipeline) < bounds.MAX_PIPELINED and fields <= bounds.MAX_PIPELINED_FIELDS

    def _scope(self) -> ConnectionScope:
        version = self._parser.get_http_version()
        if version not in _HTTP_VERSIONS:
            raise Refusal(400, "It is not HTTP/1.1")
        raw_path, _, query = self._target.partition(b"?")
        path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": path.decode("utf-8", "replace"),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self._fields,
            "server": self._server,
            "client": self._client,
        }

    def _begin(self, exchange: Exchange) -> None:
        self._exchange = exchange
        exchange.task = task = self._loop.create_task(exchange.run(self._application))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def on_body(self, part: bytes) -> None:
        self._body_bytes += len(part)
        self._body_parts += 1
        if self._body_parts > bounds.MAX_TINY_CHUNKS and self._body_bytes < self._body_parts * bounds.TINY_CHUNK_BYTES:
            raise Refusal(400, "The chunks of the body are too small")
        if self._newest is not None:
            self._newest.take(part)

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade() and self._framing != _NO_BODY:
            return
        self._in_body = False
        if self._newest is not None:
            self._newest.end_body()

    def _framing_is_long(self) -> bool:
        """Extensions of chunks, and trailers, are nobody's either."""
        framing = self._framed_bytes - self._body_bytes
        return framing > bounds.MAX_HEAD_BYTES + self._body_parts * bounds.TINY_CHUNK_BYTES

    # --- Answers -------------------------------------------------------------------------------------------------

    @property
    def date(self) -> bytes:
        return self._connections.date

    @property
    def is_ending(self) -> bool:
        return self._connections.are_ending

    def exchange_over(self) -> None:
        """The next request's turn, or the end."""
        if self._exchange is not None and not self._exchange.keeps_connection:
            self.close()
        elif self._pipeline:
            self._begin(self._pipeline.popleft())
        self.resume_reading()

    def exchange_failed(self) -> None:
        """Nothing else tells the reader of half an answer that something is missing."""
        if self._exchange is None or self._exchange.has_begun:
            self.transport.abort()
        else:
            self._tell(500, "", self._exchange.scope["headers"])
            self.close()

    def refuse(self, status: int, reason: str) -> None:
        """A problem document for what comes now, unless an answer to it is on its way, and the end.

        Requests before it are answered first: then their answers are the last ones, as HTTP has no other way.
        """
        if self._closing:
            return
        exchange = self._exchange
        if exchange is None or exchange.is_over:
            # The body of a request that has its answer is nobody's any more.
            if not self._in_body:
                self._tell(status, reason, self._fields)
        elif not self._in_body or self._newest is not exchange:
            (self._newest or exchange).keeps_connection = False
            self._is_deaf = True
            self.pause_reading()
            return
        elif not exchange.has_begun:
            self._tell(status, reason, self._fields)
            exchange.leave()
        self.close()

    def _tell(self, status: int, reason: str, fields: list[tuple[bytes, bytes]]) -> None:
        """`fields` are those of the request."""
        given = next((value for name, value in fields if name == b"request-id"), b"")
        self.transport.write(_refusal(status, reason, request_id_of(given.decode("latin-1"))))

    # --- Time ----------------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """`now` is of the process's clock. Closes the connection when it has waited too long for its client."""
        wait = self._waits_for()
        if wait != self._wait:
            self._wait, self.waits_since, self._body_bytes_then = wait, now, self._body_bytes
            return
        seconds = now - self.waits_since
        match wait.what:
            case "request" if seconds > self._connections.keep_seconds:
                self.transport.close()
            case "head" if seconds > bounds.HEAD_SECONDS:
                self.end(408, "Its head was not complete in time")
            case "body" if seconds > bounds.BODY_SECONDS and self._is_slow(seconds):
                self.end(408, "Its body was not complete in time")
            case "reader" if seconds > bounds.ANSWER_SECONDS:
                self.transport.abort()
            case "end" if seconds > bounds.LINGER_SECONDS:
                self.transport.abort()

    def _is_slow(self, seconds: float) -> bool:
        return self._body_bytes - self._body_bytes_then < seconds * bounds.LEAST_BYTES_A_SECOND

    def _waits_for(self) -> Wait:
        if self._readable is not None or (self._closing and self.transport.get_write_buffer_size()):
            return Wait("reader", self._resumed)
        if self._closing:
            return Wait("end", 0)
        exchange = self._exchange if self._exchange is not None and not self._exchange.is_over else None
        if self._in_body and not self._reading_paused and (exchange is None or self._newest is exchange):
            return Wait("body", self._requests)
        if exchange is not None:
            return Wait("turn" if PUT_OFF in exchange.scope else "answer", self._requests)
        return Wait("head" if self._in_head or not self._requests else "request", self._requests)

    @property
    def kept_by(self) -> Owner:
        """Who keeps it open while nothing is done for it: the client that it waits for, or whose turn it waits for.

        None when it is worked on.
        """
        what = self._waits_for().what
        if what == "turn" and self._exchange is not None:
            # Of one address, idle connections of a client that does nothing wrong are no part of those.
            return PUT_OFF, self._exchange.scope[PUT_OFF]
        return None if what == "answer" else network_of_peer({"client": self._client}, {})

    def end(self, status: int, reason: str) -> None:
        """Say why, unless nothing was asked yet, and close."""
        if self._in_head or self._in_body:
            self.refuse(status, reason)
        else:
            self.close()

    def make_room(self) -> None:
        """Too many are open, and nothing is done for this one."""
        if self._closing or self._readable is not None:
            self.transport.abort()
        elif self._exchange is not None and PUT_OFF in self._exchange.scope:
            self._tell(503, _CROWDED, self._exchange.scope["headers"])
            self._exchange.leave()
            self.close()
        else:
            self.end(503, _CROWDED)


def _date() -> bytes:
    """The header field, with its end of line."""
    return f"Date: {formatdate(usegmt=True)}\r\n".encode()


def _address(name: Any) -> tuple[str, int] | None:
    """Of a TCP socket; a Unix socket has none."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


def _refusal(status: int, reason: str, request_id: str) -> bytes:
    """A problem document, for what no application sees or one leaves without an answer."""
    code = problem_for_status(status).problem_type.code
    detail = f"{reason}." if reason and (status < 500 or status == 503) else None
    body = json.dumps(problem_body(Problem(code, detail), request_id)).encode()
    fields = [
        ("Content-Type", MEDIA_TYPE),
        ("Content-Length", str(len(body))),
        ("Request-Id", request_id),
        ("Server-Timing", "app;dur=0.00"),
        ("Connection", "close"),
        *([("Retry-After", "1")] if status == 503 else []),
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode("latin-1") + body


class Clock:
    """Seconds in which the process could have read what clients sent: a time that it stood still is not theirs."""

    def __init__(self) -> None:
        self.now = 0.0
        self._last = time.monotonic()

    def advance(self) -> float:
        last, self._last = self._last, time.monotonic()
        self.now += min(self._last - last, 2 * bounds.LOOK_SECONDS)
        return self.now
