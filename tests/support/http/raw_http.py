"""HTTP byte by byte, for what no client library sends, and for clients that stop in the middle."""

import json
import select
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class RawReply:
    """The first answer on a connection; names of header fields in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Peer:
    """A connection. `received` is all that the server has said."""

    def __init__(self, base_url: str, *, buffer: int = 0) -> None:
        address = urlsplit(base_url)
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(_SECONDS)
        self.socket.connect((address.hostname, address.port))
        self.received = b""
        self.has_ended = False

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def push(self, part: bytes, *, most: int) -> int:
        """Sends `part` again and again until the server ends the connection or has `most` bytes; how many went out."""
        sent, deadline = 0, time.monotonic() + _SECONDS
        self.socket.setblocking(False)
        while not self.has_ended and sent < most:
            assert time.monotonic() < deadline, self.received[:300]
            readable, writable, _ = select.select([self.socket], [self.socket], [], _SECONDS)
            if readable:
                self._take()
            elif writable:
                sent += self._give(part[sent % len(part) :])
        self.socket.settimeout(_SECONDS)
        return sent

    def drip(self, part: bytes, *, every: float) -> None:
        """Sends `part` in turns with a pause, until the server ends the connection."""
        deadline = time.monotonic() + _SECONDS
        while not self.has_ended:
            assert time.monotonic() < deadline, "it stays open"
            self._give(part)
            if select.select([self.socket], [], [], every)[0]:
                self._take()

    def hears(self) -> bool:
        """Whether the server has said anything, without waiting for it."""
        return bool(self.received) or bool(select.select([self.socket], [], [], 0)[0])

    def looks_ended(self) -> bool:
        """Whether the server has ended the connection, without waiting for it."""
        while not self.has_ended and select.select([self.socket], [], [], 0)[0]:
            self._take()
        return self.has_ended

    def read(self) -> RawReply:
        """The first answer: to its end, or to that of the connection."""
        while not self.has_ended and (reply := _parsed(self.received)) is None:
            self._take()
        reply = _parsed(self.received)
        assert reply is not None, self.received[:300]
        return reply

    def read_until(self, part: bytes) -> None:
        """Until `received` has it; fails when the connection ends before."""
        while part not in self.received:
            self.read_more()

    def read_more(self) -> None:
        """What comes next; fails when the connection ends."""
        self._take()
        assert not self.has_ended, self.received[-300:]

    def read_to_end(self) -> RawReply:
        while not self.has_ended:
            self._take()
        return self.read()

    def close(self) -> None:
        self.socket.close()

    def _give(self, part: bytes) -> int:
        try:
            return self.socket.send(part)
        except BlockingIOError:
            return 0
        except (ConnectionResetError, BrokenPipeError):
            self.has_ended = True
            return 0

    def _take(self) -> None:
        try:
            part = self.socket.recv(65_536)
        except ConnectionResetError:
            part = b""
        self.received += part
        self.has_ended = not part


def ask(base_url: str, request: bytes) -> RawReply:
    """The answer to these bytes."""
    peer = Peer(base_url)
    try:
        peer.send(request)
        return peer.read()
    finally:
        peer.close()


def _parsed(received: bytes) -> RawReply | None:
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", 0))
    if len(body) < length:
        return None
    return RawReply(status=int(first.split()[1]), headers=headers, body=body[:length])
