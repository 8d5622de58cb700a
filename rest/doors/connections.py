"""gunicorn's HTTP connections, held to time and size; whatever gunicorn refuses itself is a problem document.

A connection is looked at once a second, so none of this costs a request anything: `look` compares what the connection
waits for with what it waited for at the look before. The numbers are in `core/bounds.py`.
"""

import asyncio
import json
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any, NamedTuple

from gunicorn.asgi.parser import LimitRequestHeaders, ParseError
from gunicorn.asgi.protocol import ASGIProtocol

from core import bounds


class Wait(NamedTuple):
    """What a connection waits for: `what`, and a number that changes when it gets it."""

    what: str
    number: int


class Protocol(ASGIProtocol):  # type: ignore[misc] # gunicorn has no types
    _closed: bool

    def __init__(self, worker: Any) -> None:
        super().__init__(worker)
        self._max_buffer_size = bounds.MAX_READ_AHEAD_BYTES
        # Of the head that is being read; of the body, and in how many parts it came.
        self._head_bytes = 0
        self._body_bytes = 0
        self._body_parts = 0
        # The request whose answer has begun.
        self._answered = -1
        # How often a client that had left an answer unread went on reading.
        self._resumed = 0
        self._wait = Wait("", 0)
        self.waits_since = 0.0
        self._body_bytes_then = 0
        self._requests_at_last_look = 0

    # --- Its life ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.waits_since = self.worker.clock
        self.worker.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.worker.protocols.discard(self)
        super().connection_lost(error)

    def resume_writing(self) -> None:
        self._resumed += 1
        super().resume_writing()

    def close_if_still_idle(self) -> None:
        """As the keep-alive timer does it, only sooner: when nothing was asked since the look before."""
        if self._awaiting_request and self.req_count == self._requests_at_last_look:
            self._keepalive_timeout()
        self._requests_at_last_look = self.req_count

    # --- Size ----------------------------------------------------------------------------------------------------

    def _feed_callback_parser(self, data: bytes) -> bool:
        if self._current_request is None:
            self._head_bytes += len(data)
            self._answered = -1
        try:
            goes_on = bool(super()._feed_callback_parser(data))
        except ValueError:
            # A Content-Length of 5 000 digits is no number to Python.
            self.end(400, "It is not valid HTTP/1.1")
            return False
        if goes_on and self._current_request is None and self._head_bytes > bounds.MAX_HEAD_BYTES:
            self.end(431, _LONG_HEAD)
            return False
        return goes_on

    def _on_headers_complete(self) -> bool:
        # The body may have come with it.
        if self._head_bytes > bounds.MAX_HEAD_BYTES and _size_of(self._callback_parser) > bounds.MAX_HEAD_BYTES:
            raise LimitRequestHeaders(_LONG_HEAD)
        self._head_bytes = self._body_bytes = self._body_parts = 0
        return bool(super()._on_headers_complete())

    def _on_body(self, part: bytes) -> None:
        self._body_bytes += len(part)
        self._body_parts += 1
        if self._body_parts > bounds.MAX_TINY_CHUNKS and self._body_bytes < self._body_parts * bounds.TINY_CHUNK_BYTES:
            raise ParseError("The chunks of the body are too small")
        super()._on_body(part)

    # --- Time ----------------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """`now` is of the worker's clock. Closes the connection when it has waited too long for its client."""
        wait = self._waits_for()
        if wait != self._wait:
            self._wait, self.waits_since, self._body_bytes_then = wait, now, self._body_bytes
            return
        seconds = now - self.waits_since
        match wait.what:
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
        if self._flow_control.write_paused or (self._closed and self.transport.get_write_buffer_size()):
            return Wait("reader", self._resumed)
        if self._closed:
            return Wait("end", 0)
        if self._current_request is None:
            begun = self._head_bytes or self.req_count <= 1
            return Wait("head" if begun else "request", self.req_count)
        receiver = self._body_receiver
        if receiver is not None and not receiver._complete and not self._reading_paused:
            return Wait("body", self.req_count)
        return Wait("answer", self.req_count)

    @property
    def waits_for_client(self) -> bool:
        return self._waits_for().what != "answer"

    def end(self, status: int, reason: str) -> None:
        """Say why, unless nothing was asked yet or an answer is on its way, and close."""
        if self._head_bytes or self._waits_for().what == "body":
            self._send_error_response(status, reason)
        self._close_transport()
        self._request_ready.set()

    def make_room(self) -> None:
        """Too many are open, and this one waits for its client."""
        if self._closed or self._flow_control.write_paused:
            self.transport.abort()
        else:
            self.end(503, "Too many connections are open")

    def _close_transport(self) -> None:
        """In the middle of a request it waits a moment, unread.

        Bytes that nobody has read turn the end into a reset, which may overtake the answer.
        """
        receiver = self._body_receiver
        is_whole = receiver is None or receiver._complete
        if self._closed or (is_whole and not self._head_bytes):
            super()._close_transport()
            return
        self._closed = True
        self._pause_reading()
        if receiver is not None:
            receiver.signal_disconnect()
        with suppress(OSError, RuntimeError):
            self.transport.write_eof()

    def _maybe_resume_reading(self) -> None:
        if not self._closed:
            super()._maybe_resume_reading()

    # --- Answers -------------------------------------------------------------------------------------------------

    def _is_websocket_upgrade(self, request: object) -> bool:
        """The application refuses it, as any other request."""
        return False

    def _will_close(self, request: object, response_requires_close: bool) -> bool:  # noqa: FBT001 - gunicorn's
        return bool(self.worker.ending or super()._will_close(request, response_requires_close))

    def _send_response_start(
        self,
        status: int,
        headers: list[tuple[bytes, bytes]],
        request: object,
        close: bool = False,  # noqa: FBT001, FBT002 - gunicorn's
    ) -> None:
        self._answered = self.req_count
        if status >= 400 and (b"connection", b"close") in headers:
            # gunicorn hands the field on and would keep the connection all the same.
            self._keepalive = 0
        super()._send_response_start(status, headers, request, close=close)

    def _send_error_response(self, status: int, message: str, extra_headers: tuple[tuple[str, str], ...] = ()) -> None:
        """A problem document, for whatever gunicorn refuses or an application leaves without an answer."""
        if self._closed or self._answered == self.req_count:
            return
        receiver = self._body_receiver
        if receiver is not None and receiver._body_wait_expired:
            status, message = 408, "Its body was not complete in time"
        # Not above: gunicorn's master reads this module before there are settings.
        from core.problems import Problem, problem_for_status  # noqa: PLC0415
        from rest.middleware import request_id_of  # noqa: PLC0415
        from rest.problems import MEDIA_TYPE, problem_body  # noqa: PLC0415

        request = self._current_request
        request_id = request_id_of(request.get_header("Request-Id") if request is not None else None)
        code = problem_for_status(status).problem_type.code
        detail = f"{message[:100]}." if message and (status < 500 or status == 503) else None
        body = json.dumps(problem_body(Problem(code, detail), request_id)).encode()
        fields = [
            ("Content-Type", MEDIA_TYPE),
            ("Content-Length", str(len(body))),
            ("Request-Id", request_id),
            ("Server-Timing", "app;dur=0.00"),
            ("Connection", "close"),
            *([("Retry-After", "1")] if status == 503 else []),
            *extra_headers,
        ]
        head = "".join(f"{name}: {value}\r\n" for name, value in fields)
        self._safe_write(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode("latin-1") + body)


_LONG_HEAD = f"Request line and header fields are over {bounds.MAX_HEAD_BYTES} bytes"


def _size_of(parser: Any) -> int:
    return len(parser.path) + sum(len(name) + len(value) + 4 for name, value in parser.headers)


class Clock:
    """Seconds in which the process could have read what clients sent: a time that it stood still is not theirs."""

    def __init__(self) -> None:
        self.now = 0.0
        self._last = time.monotonic()

    def advance(self) -> float:
        last, self._last = self._last, time.monotonic()
        self.now += min(self._last - last, 2 * bounds.LOOK_SECONDS)
        return self.now
