"""How far an attempt has come, noted as it goes, so that one that breaks off still tells where. Pure.

Connections are made deep within aiohttp, for the attempt of the current task: whoever makes them notes it here.
"""

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from msgspec import Struct

# Names and values together, as they are kept of an answer.
MAX_HEADER_BYTES = 4096


class Phase(StrEnum):
    """What an attempt is busy with; the words complete “while …”."""

    RESOLVING = "looking up the host name"
    CONNECTING = "connecting"
    SECURING = "agreeing on TLS"
    WAITING = "waiting for the answer"
    READING = "reading the answer"


class Timings(Struct, frozen=True):
    """How long each step took, in milliseconds; None for one that was not taken.

    On a connection that was kept from an earlier request nothing is looked up or connected; only `https` has TLS. The
    first byte is counted from the moment when the request could be sent.
    """

    dns_ms: int | None = None
    connect_ms: int | None = None
    tls_ms: int | None = None
    first_byte_ms: int | None = None


@dataclass(kw_only=True, slots=True)
class Exchange:
    """One request and its answer. Moments are those of `time.perf_counter()`, None until they have come."""

    started: float = field(default_factory=time.perf_counter)
    began: float = 0.0
    resolved_at: float | None = None
    connected_at: float | None = None
    requested_at: float | None = None
    answered_at: float | None = None
    on_used_connection: bool = False
    tried_address: str | None = None
    remote_address: str | None = None
    status: int | None = None
    response_headers: dict[str, str] = field(default_factory=dict)
    retry_after: timedelta | None = None
    body: bytearray = field(default_factory=bytearray)
    truncated: bool = False

    def begin(self) -> None:
        """For the first time, or once more."""
        self.began = time.perf_counter()
        self.resolved_at = self.connected_at = self.requested_at = self.answered_at = None
        self.on_used_connection = False
        self.tried_address = self.remote_address = None

    def forget_answer(self) -> None:
        """The request is sent again, as the answer was not the last word."""
        self.status = self.retry_after = None
        self.response_headers, self.body, self.truncated = {}, bytearray(), False

    def note_socket(self, address: str) -> None:
        """A connection to this address is tried; several may be, at the same time, of which one comes about."""
        if self.resolved_at is None:
            self.resolved_at, self.tried_address = time.perf_counter(), address
        else:
            self.tried_address = None

    def note_tls(self) -> None:
        """There is a connection, on which TLS begins."""
        self.connected_at, self.remote_address = time.perf_counter(), self.tried_address

    def note_request(self, address: str | None, *, on_used_connection: bool) -> None:
        """The request is written next."""
        self.requested_at, self.remote_address = time.perf_counter(), address
        self.on_used_connection = on_used_connection

    def note_answer(self) -> None:
        """The first byte has come."""
        self.answered_at = time.perf_counter()

    def elapsed(self) -> float:
        """Seconds."""
        return time.perf_counter() - self.started

    @property
    def phase(self) -> Phase:
        if self.answered_at is not None:
            return Phase.READING
        if self.requested_at is not None:
            return Phase.WAITING
        if self.connected_at is not None:
            return Phase.SECURING
        return Phase.RESOLVING if self.resolved_at is None else Phase.CONNECTING

    def timings(self) -> Timings:
        """Until now: the step that it is busy with has taken so long."""
        now = time.perf_counter()
        requested = self.requested_at or now
        if self.on_used_connection:
            dns = connect = tls = None
        else:
            dns = _ms(self.began, self.resolved_at or requested)
            connect = _ms(self.resolved_at, self.connected_at or requested)
            tls = _ms(self.connected_at, requested)
        return Timings(dns, connect, tls, _ms(self.requested_at, self.answered_at or now))


def _ms(begin: float | None, end: float) -> int | None:
    return None if begin is None else round((end - begin) * 1000)


# Of the task's attempt, if it makes one.
current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)
