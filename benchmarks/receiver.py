"""A receiver of webhooks that costs little of the machine: it notes when each arrived, and verifies nothing.

It answers 200 at once, after some seconds on `/slow/SECONDS`, and never on `/hang`. Runs in a process of its own
(`python -m benchmarks.receiver --port N`); `/_/counts`, `/_/arrivals` and `/_/forget` tell what arrived.
`tests/support/http/receiver.py`, which verifies signatures, takes more time for a webhook than the sender does.
"""

import argparse
import asyncio
import json
import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import uvloop

from benchmarks.lab import Lab
from benchmarks.servers import HOST, free_port, serving
from events_platform.up.child import Program
from installation.local.data_dir import CHECKOUT

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_ID = re.compile(rb"\r\nwebhook-id: *([^\r]+)", re.IGNORECASE)
_TAKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Counts:
    """`requests` arrived with so many different ids; `cpu_seconds` is what the receiver has used."""

    requests: int
    ids: int
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """The running receiver, seen from outside."""

    url: str

    def counts(self) -> Counts:
        return Counts(**self._ask("counts"))

    def arrivals(self) -> dict[str, float]:
        """The id of each webhook → when it first arrived, by time.monotonic."""
        arrivals: dict[str, float] = self._ask("arrivals")
        return arrivals

    def forget(self) -> None:
        self._ask("forget")

    def _ask(self, question: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/_/{question}", timeout=_PATIENCE_SECONDS) as answer:
            return json.load(answer)


@contextmanager
def receiving(lab: Lab) -> Iterator[Receiver]:
    """A receiver in a process of its own."""
    port = free_port()
    program = Program(
        name="receiver",
        command=(sys.executable, "-m", "benchmarks.receiver", "--port", str(port)),
        environment=lab.environ,
        folder=CHECKOUT,
    )
    with serving(lab, program, port=port, health="/_/counts"):
        yield Receiver(url=f"http://{HOST}:{port}")


class _Received:
    """What arrived since it was last told to forget."""

    def __init__(self) -> None:
        self.requests = 0
        self.arrivals: dict[str, float] = {}

    def forget(self) -> None:
        self.requests = 0
        self.arrivals.clear()

    def note(self, webhook_id: str) -> None:
        self.requests += 1
        self.arrivals.setdefault(webhook_id, time.monotonic())

    def answer(self, question: bytes) -> object:
        if question == b"arrivals":
            return self.arrivals
        if question == b"forget":
            self.forget()
        return {"requests": self.requests, "ids": len(self.arrivals), "cpu_seconds": time.process_time()}


class _Wire(asyncio.Protocol):
    """One connection, on which a request follows the answer to the one before."""

    def __init__(self, received: _Received) -> None:
        self._received = received
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._buffer[:head_end])
        length = _LENGTH.search(head)
        if len(self._buffer) < head_end + 4 + (int(length[1]) if length else 0):
            return
        self._buffer.clear()
        self._answer(head)

    def _answer(self, head: bytes) -> None:
        assert self._transport is not None
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/_/"):
            body = json.dumps(self._received.answer(path[3:])).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        elif path.startswith(b"/slow/"):
            # Of the tenants in trouble: only those of the others are counted.
            asyncio.get_running_loop().call_later(int(path[6:]), self._transport.write, _TAKEN)
        elif path != b"/hang":
            found = _ID.search(head)
            self._received.note(found[1].decode() if found else "")
            self._transport.write(_TAKEN)


async def _serve(port: int) -> None:
    received = _Received()
    server = await asyncio.get_running_loop().create_server(lambda: _Wire(received), HOST, port, backlog=1024)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="Receive webhooks on 127.0.0.1.")
    parser.add_argument("--port", type=int, required=True)
    with suppress(KeyboardInterrupt):
        uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
