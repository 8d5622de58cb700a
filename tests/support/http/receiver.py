"""A real receiver of webhooks on loopback, which verifies each with the public `standardwebhooks` library.

It answers as its paths say: `/ok`, `/slow/0.5` (seconds), `/together/2` (once so many have arrived), `/flaky` (every
second request fails), `/hang`, `/reset`, `/redirect`, `/busy/30` (429 with Retry-After), `/gone`, `/status/503`,
`/cookie`, `/endless`, `/drip`, `/huge-header`, `/many-headers`, `/garbage`, `/cut` (a body that ends too early),
`/once` (keeps no connection, without saying so).
`Receiver.behave` gives any other path one of these behaviours.

In a thread: `with receiving(secret) as receiver: ...`. In a process of its own, for benchmarks and crash tests:
`with receiver_process(secret) as address: ...`, or `python -m tests.support.http.receiver --secret whsec_…`. That
prints its address; `/_/received` shows what it got, and `/_/behave/<behaviour>/at/<path>` sets how a path answers.
"""

import argparse
import asyncio
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

REDIRECT_TARGET = "/redirected"
_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request. `at` is in seconds of time.monotonic; `headers` have lower-case names."""

    path: str
    id: str
    verified: bool
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class Receiver:
    """What was received, and how it is answered. Safe to read from another thread than the server's."""

    webhooks: list[Webhook]
    url: str = ""
    keep: bool = True
    received: list[Received] = field(default_factory=list)
    total: int = 0
    verified: int = 0
    behaviours: dict[str, str] = field(default_factory=dict)
    stop: Callable[[], object] = lambda: None
    used_connections: set[Any] = field(default_factory=set)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def behave(self, path: str, behaviour: str) -> None:
        """Let `path` answer as `/<behaviour>` does, from now on: `receiver.behave("/hook", "status/503")`."""
        self.behaviours[path] = behaviour

    def trust(self, secret: str) -> None:
        """Accept the signatures of one more secret."""
        self.webhooks.append(Webhook(secret))

    def ids(self, path: str | None = None) -> list[str]:
        return [request.id for request in list(self.received) if path in (None, request.path)]

    def wait_for(self, count: int, *, seconds: float = 20.0) -> list[Received]:
        """The requests, as soon as there are `count`."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: self.total >= count, seconds), f"{self.total} of {count} arrived"
        return list(self.received)

    def note(self, path: str, headers: dict[str, str], body: bytes) -> None:
        verified = any(_verifies(webhook, headers, body) for webhook in self.webhooks)
        with self._arrived:
            self.total += 1
            self.verified += verified
            if self.keep:
                request = Received(
                    path=path,
                    id=headers.get("webhook-id", ""),
                    verified=verified,
                    headers=headers,
                    body=body,
                    at=time.monotonic(),
                )
                self.received.append(request)
            self._arrived.notify_all()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/_/received":
            return web.json_response({"total": self.total, "verified": self.verified, "ids": self.ids()})
        if request.path.startswith("/_/behave/"):
            behaviour, _, path = request.path.removeprefix("/_/behave/").partition("/at/")
            self.behave(f"/{path}", behaviour)
            return web.Response()
        body = await request.read()
        self.note(request.path, {name.lower(): value for name, value in request.headers.items()}, body)
        name, _, argument = self.behaviours.get(request.path, request.path[1:]).partition("/")
        return await _BEHAVIOURS.get(name, _BEHAVIOURS["ok"])(self, request, argument)


def _verifies(webhook: Webhook, headers: dict[str, str], body: bytes) -> bool:
    try:
        webhook.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True


# --- Behaviours ----------------------------------------------------------------------------------------------

Behaviour = Callable[[Receiver, web.BaseRequest, str], Awaitable[web.StreamResponse]]


def _answer(**response: Any) -> Behaviour:
    async def answer(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
        return web.Response(**response)

    return answer


async def _slow(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
    await asyncio.sleep(float(argument))
    return web.Response(text="taken late")


async def _together(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
    """Answers once so many requests have arrived."""
    await asyncio.get_running_loop().run_in_executor(None, receiver.wait_for, int(argument))
    return web.Response(text="taken with others")


async def _flaky(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
    return web.Response(status=500 if receiver.total % 2 else 200, text="flaky")


async def _hang(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()


async def _reset(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
    """RST instead of an answer: what closing does to a socket that lingers for no time."""
    transport = request.transport
    assert transport is not None
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
    return web.Response()


async def _redirect(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": receiver.url + REDIRECT_TARGET})


async def _busy(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
    return web.Response(status=429, headers={"Retry-After": argument}, text="slow down")


async def _status(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
    return web.Response(status=int(argument or 410), text="no\x00pe")


async def _endless(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    with suppress(ConnectionError):
        while True:
            await answer.write(b"x" * 8192)
    return answer


async def _drip(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    with suppress(ConnectionError):
        while True:
            await answer.write(b".")
            await asyncio.sleep(0.05)
    return answer


def _raw(content: bytes) -> Behaviour:
    async def answer(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        transport.write(content)
        transport.close()
        return web.Response()

    return answer


async def _once(receiver: Receiver, request: web.BaseRequest, argument: str) -> web.StreamResponse:
    """Promises to keep the connection, and closes it when the next request on it arrives."""
    transport = request.transport
    assert transport is not None
    peer = transport.get_extra_info("peername")
    if peer in receiver.used_connections:
        transport.close()
    receiver.used_connections.add(peer)
    return web.Response(text="taken")


_BEHAVIOURS: dict[str, Behaviour] = {
    "ok": _answer(text="taken"),
    "slow": _slow,
    "together": _together,
    "flaky": _flaky,
    "hang": _hang,
    "reset": _reset,
    "redirect": _redirect,
    "busy": _busy,
    "gone": _status,
    "status": _status,
    "cookie": _answer(headers={"Set-Cookie": "session=1; Path=/"}),
    "endless": _endless,
    "drip": _drip,
    "huge-header": _answer(headers={"X-Huge": "h" * 1_000_000}),
    "many-headers": _answer(headers={f"X-{number}": "h" * 1000 for number in range(1000)}),
    "garbage": _raw(b"\x16\x03\x01 this is not HTTP\r\n\r\n"),
    "cut": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin"),
    "once": _once,
}


# --- Running -------------------------------------------------------------------------------------------------


async def _serve(
    receiver: Receiver, started: Callable[[], object], port: int = 0, context: ssl.SSLContext | None = None
) -> None:
    """Serve until `receiver.stop` is called, from whatever thread."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    receiver.stop = lambda: loop.call_soon_threadsafe(stop.set)
    runner = web.ServerRunner(web.Server(receiver.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context, backlog=1024).start()
    receiver.url = f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    started()
    await stop.wait()
    await runner.cleanup()


@contextmanager
def receiving(*secrets: str, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver in a thread, on a free port of 127.0.0.1; with a TLS context it speaks https."""
    receiver, started = Receiver([Webhook(secret) for secret in secrets]), threading.Event()

    def run() -> None:
        # A Runner cancels what still hangs before it closes its loop.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(receiver, started.set, context=context))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10), "the receiver does not start"
    try:
        yield receiver
    finally:
        receiver.stop()
        thread.join(10)


@contextmanager
def receiver_process(*secrets: str, keep: bool = False) -> Iterator[str]:
    """A receiver in a process of its own; gives its address. Without `keep` it only counts."""
    arguments = [word for secret in secrets for word in ("--secret", secret)] + (["--keep"] if keep else [])
    command = [sys.executable, "-m", "tests.support.http.receiver", *arguments]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield str(json.loads(process.stdout.readline())["url"])
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description="Receive webhooks on 127.0.0.1.")
    parser.add_argument("--secret", action="append", default=[], help="whsec_…; may be given several times")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="keep every request, not only the counts")
    options = parser.parse_args()
    receiver = Receiver([Webhook(secret) for secret in options.secret], keep=options.keep)

    def announce() -> None:
        sys.stdout.write(json.dumps({"url": receiver.url}) + "\n")
        sys.stdout.flush()

    async def serve() -> None:
        await _serve(receiver, announce, options.port)

    with suppress(KeyboardInterrupt):
        uvloop.run(serve())


if __name__ == "__main__":
    main()
