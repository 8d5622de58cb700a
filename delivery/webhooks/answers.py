"""How much an endpoint may send as one answer, counted where it comes in: below HTTP, and below TLS.

aiohttp bounds a header field, their number, and what is kept of a body, but not what else an endpoint can send for as
long as a request may take: informational answers (1xx), blank lines before the first, extensions of chunks, single
bytes, session tickets of TLS. Each of them keeps an event loop busy that others wait for.
"""

import functools
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from delivery.attempts.exchange import Exchange, current

# Of the body; enough to see what went wrong, and an endpoint cannot fill the memory or the database.
MAX_RESPONSE_BYTES = 20 * 1024
# Of a line of a head: servers write policies and cookies that are longer than the parser's default of 8 KiB.
MAX_LINE_BYTES = 64 * 1024
# Of header fields; with the next bound, which counts what they hold.
MAX_RESPONSE_HEADERS = 256
# Of everything: heads, chunks, and the body as far as it is kept. Less than chunks of a byte need for a whole body.
MAX_RECEIVED_BYTES = 96 * 1024
# Several may precede the final answer (RFC 9110, 15.2).
MAX_INFORMATIONAL = 8
# What TLS itself may send on top for one answer: two session tickets have some 500 bytes, a record's frame has 22.
MAX_TLS_BYTES = 64 * 1024
# A piece counts as so many bytes at least: whoever sends byte by byte makes more work than whoever sends all at once.
_LEAST = 64
# So much is parsed before it is looked at again: at most 256 informational answers.
_SLICE = 4096


class ExcessiveAnswer(aiohttp.ClientPayloadError):
    """The endpoint sends more than an answer may have."""

    def __init__(self) -> None:
        super().__init__("The endpoint sends more than an answer may have.")


class BoundedAnswer(ResponseHandler):
    """One connection. Ends it as soon as an answer is too much; drops what nobody reads of a long body.

    `tunneled_to` is the address at the far end, where its peer is a proxy.
    """

    tunneled_to: str | None = None
    _received = 0
    _messages = 0
    _exchange: Exchange | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if tls := self._tls():
            tls.refuse = self._refuse

    def set_response_params(self, **options: Any) -> None:
        """A request begins."""
        self._received = self._messages = 0
        if tls := self._tls():
            tls.beside = 0
        is_used = self._exchange is not None
        if (exchange := current.get()) is not None:
            peer = self.transport and self.transport.get_extra_info("peername")
            address = self.tunneled_to or (str(peer[0]) if peer else None)
            exchange.note_request(address, on_used_connection=is_used)
        self._exchange = exchange
        super().set_response_params(**options)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """A head is complete."""
        self._messages += 1
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        if not data:  # it goes on with what it had kept back
            super().data_received(data)
        elif (exchange := self._exchange) is not None and exchange.answered_at is None:
            exchange.note_answer()
        for begin in range(0, len(data), _SLICE):
            if self.transport is None or self.exception() is not None or self._has_enough():
                return
            piece = data[begin : begin + _SLICE]
            super().data_received(piece)
            self._received += max(len(piece), _LEAST)
            if self._messages > MAX_INFORMATIONAL + 1 or (
                self._received > MAX_RECEIVED_BYTES and not self._has_enough()
            ):
                self._refuse()

    def _has_enough(self) -> bool:
        """One byte more than is kept shows that there is more."""
        return self._payload is not None and self._payload.total_bytes > MAX_RESPONSE_BYTES

    def _refuse(self) -> None:
        payload, refusal = self._payload, ExcessiveAnswer()
        self.abort()
        self.set_exception(refusal)
        if payload is not None:
            payload.set_exception(refusal)

    def _tls(self) -> "BoundedTls | None":
        found = self.transport and self.transport.get_extra_info("ssl_object")
        return found if isinstance(found, BoundedTls) else None


class BoundedTls(ssl.SSLObject):
    """Counts what comes in beside the data, once there is a connection; OpenSSL bounds what comes before.

    It takes from `incoming` in slices, as OpenSSL would go through all that is there in one call.
    """

    beside = 0
    refuse: Callable[[], None] | None = None
    _incoming: ssl.MemoryBIO
    _slice: ssl.MemoryBIO

    @classmethod
    def _create(cls, incoming: ssl.MemoryBIO, *arguments: Any, **options: Any) -> "BoundedTls":
        """What SSLContext.wrap_bio calls."""
        taken = ssl.MemoryBIO()
        created: BoundedTls = super()._create(taken, *arguments, **options)  # type: ignore[misc] # not in typeshed
        created._incoming, created._slice = incoming, taken
        if (exchange := current.get()) is not None:
            exchange.note_tls()
        return created

    def do_handshake(self) -> None:
        while True:
            try:
                return super().do_handshake()
            except ssl.SSLWantReadError:
                if not self._take():
                    raise

    def read(self, size: int = 1024, buffer: Any = None) -> Any:
        while True:
            try:
                data: Any = super().read(size, buffer)
            except ssl.SSLWantReadError:
                if self.beside > MAX_TLS_BYTES and self.refuse:
                    self.refuse()
                    raise
                if not self._take():
                    raise
            else:
                self.beside -= len(data) if buffer is None else data
                return data

    def _take(self) -> bool:
        """Whether there was something."""
        if piece := self._incoming.read(_SLICE):
            self.beside += max(len(piece), _LEAST)
            self._slice.write(piece)
        elif self._incoming.eof and not self._slice.eof:
            self._slice.write_eof()
        else:
            return False
        return True


class BoundedConnector(aiohttp.TCPConnector):
    """Whose connections are all bounded. Called in the event loop that uses it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        factory: Any = functools.partial(BoundedAnswer, loop=self._loop)
        self._factory = factory


@functools.lru_cache(maxsize=4)
def tls_context(ca_file: str) -> ssl.SSLContext:
    """That of most webhooks. Made once: it reads all authorities."""
    return new_tls_context(ca_file)


def new_tls_context(ca_file: str) -> ssl.SSLContext:
    """Trusts the system's authorities and those of the file, if one is named."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    return bound_tls(context)


def bound_tls(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, for our connections."""
    context.set_alpn_protocols(["http/1.1"])
    # Each request to negotiate anew is a handshake for 4 bytes.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.sslobject_class = BoundedTls
    return context
