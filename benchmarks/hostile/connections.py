"""Attacks by how bytes come, or do not come, over connections."""

import asyncio
import socket

from benchmarks.hostile.attacker import Attacker, opened
from benchmarks.servers import HOST
from benchmarks.streams import BATCH_PATH, SINGLE_PATH

_BODY_BYTES = 4_900_000
_PIECE = b"[" * 64 * 1024
_FORM_BYTES = 800_000_000
_FORM_PATHS = ("/console/sign-in/", "/admin/login/", "/api/v1/subscriptions")
# Of each of three: 100 MB a second together.
_FORM_PAUSE = 3 * len(_PIECE) / 100_000_000
_FOR_EVER = 3600.0
_PATIENCE_SECONDS = 5.0


async def keyless_bodies(attacker: Attacker) -> None:
    await _hold(attacker, key=False)


async def unfinished_bodies(attacker: Attacker) -> None:
    await _hold(attacker, key=True)


async def _hold(attacker: Attacker, *, key: bool) -> None:
    """200 bodies at once of which the last bytes never come; one that is refused is followed by another one."""
    head = attacker.request("POST", BATCH_PATH, length=_BODY_BYTES, key=key)

    async def step(_: int) -> None:
        async with opened(attacker.site.port) as (reader, writer):
            writer.write(head)
            for _ in range(_BODY_BYTES // len(_PIECE)):
                writer.write(_PIECE)
                await writer.drain()
            await _has_ended(attacker, reader, _FOR_EVER)

    await attacker.repeat(step, rate=50, at_once=200)


async def dripping_bodies(attacker: Attacker) -> None:
    """A byte a second."""
    await _drip(attacker, attacker.request("POST", SINGLE_PATH, length=100_000), b"[", at_once=300)


async def slow_heads(attacker: Attacker) -> None:
    """A field of the head a second."""
    await _drip(attacker, f"GET / HTTP/1.1\r\nHost: {HOST}\r\n".encode(), b"X-More: 1\r\n", at_once=500)


async def _drip(attacker: Attacker, begin: bytes, more: bytes, *, at_once: int) -> None:
    async def step(_: int) -> None:
        async with opened(attacker.site.port) as (reader, writer):
            writer.write(begin)
            while not await _has_ended(attacker, reader, 1):
                writer.write(more)

    await attacker.repeat(step, rate=200, at_once=at_once)


async def idle(attacker: Attacker) -> None:
    """Connections on which nothing is sent."""

    async def step(_: int) -> None:
        async with opened(attacker.site.port) as (reader, _writer):
            await _has_ended(attacker, reader, _FOR_EVER)

    await attacker.repeat(step, rate=500, at_once=1_000)


async def waiting_refusals(attacker: Attacker) -> None:
    """Without a key, in turns a large body and many requests behind each other, on as many connections as there are."""
    fields = "".join(f"x-{number}: a\r\n" for number in range(90))
    many = f"GET {SINGLE_PATH} HTTP/1.1\r\nhost: {HOST}\r\n{fields}\r\n".encode() * 33
    large = attacker.request("POST", BATCH_PATH, length=_BODY_BYTES, key=False) + _PIECE * 2

    async def step(number: int) -> None:
        async with opened(attacker.site.port) as (reader, writer):
            writer.write((many, large)[number % 2])
            await _has_ended(attacker, reader, _FOR_EVER)
            while await reader.read(len(_PIECE)):
                pass

    await attacker.repeat(step, rate=200, at_once=1_600)


async def large_forms(attacker: Attacker) -> None:
    """To a page of each kind, without a key, in pieces."""
    form = "application/x-www-form-urlencoded"

    async def step(number: int) -> None:
        path = _FORM_PATHS[number % len(_FORM_PATHS)]
        async with opened(attacker.site.port) as (reader, writer):
            writer.write(attacker.request("POST", path, length=_FORM_BYTES, key=False, content_type=form))
            for _ in range(_FORM_BYTES // len(_PIECE)):
                writer.write(_PIECE)
                await writer.drain()
                if await _has_ended(attacker, reader, _FORM_PAUSE):
                    return

    await attacker.repeat(step, rate=3, at_once=3)


async def unread_answers(attacker: Attacker) -> None:
    """Large ones, for clients that read nothing and do not hang up."""
    request = attacker.request("GET", f"{SINGLE_PATH}?limit=1000")

    async def step(_: int) -> None:
        with socket.create_connection((HOST, attacker.site.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(request)
            attacker.outcomes["unread"] += 1
            await asyncio.sleep(_FOR_EVER)

    await attacker.repeat(step, rate=5, at_once=50)


async def malformed(attacker: Attacker) -> None:
    requests = malformed_requests(attacker)

    async def step(number: int) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await attacker.send(requests[number % len(requests)])

    await attacker.repeat(step, rate=25)


def malformed_requests(attacker: Attacker) -> list[bytes]:
    """What no client sends and a parser may misread, and fifty good requests in a row."""
    host, many, long = f"Host: {HOST}\r\n", "X: 1\r\n" * 5_000, "a" * 100_000
    get, post = f"GET {SINGLE_PATH} HTTP/1.1\r\n{host}", f"POST {SINGLE_PATH} HTTP/1.1\r\n{host}"
    coded = f"{post}Transfer-Encoding: "
    upgrade = "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\nUpgrade: "
    pieces = "1\r\n1\r\n" * 20_000
    texts = [
        f"{get}{upgrade}websocket\r\n\r\n",
        f"{get}{upgrade}h2c\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        f"GET {SINGLE_PATH} HTTP/1.1\r\n\r\n",
        f"{get}{host}\r\n",
        f"GET http://{HOST}{SINGLE_PATH} HTTP/1.1\r\n{host}\r\n",
        f"GET {SINGLE_PATH} HTTP/9.9\r\n{host}\r\n",
        f"GET /{long} HTTP/1.1\r\n{host}\r\n",
        f"{get}{many}\r\n",
        f"{get}X: {long}\r\n\r\n",
        f"{get}X: 1\r\n folded\r\n\r\n",
        f"{get}X: \0\x7f\r\n\r\n",
        f"{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        f"{post}Content-Length: -1\r\n\r\n",
        f"{post}Content-Length: {'9' * 5_000}\r\n\r\n",
        f"{coded}gzip, chunked\r\n\r\n0\r\n\r\n",
        f"{coded}chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        f"{coded}chunked\r\n\r\n{'f' * 5_000}\r\n",
        f"{coded}chunked\r\n\r\n1;{long}\r\n1\r\n0\r\n\r\n",
        f"{coded}chunked\r\n\r\n{pieces}0\r\n\r\n",
        f"{coded}chunked\r\n\r\n0\r\n{many}\r\n",
        "\r\n" * 10_000,
        "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + "\0" * 500,
    ]
    whole = attacker.request("GET", SINGLE_PATH)
    in_a_row = whole.replace(b"connection: close\r\n", b"") * 49 + whole
    return [*(text.encode("latin-1") for text in texts), in_a_row]


async def _has_ended(attacker: Attacker, reader: asyncio.StreamReader, seconds: float) -> bool:
    """Whether an answer, or the connection's end, came within that time; it is counted."""
    try:
        async with asyncio.timeout(seconds):
            answer = await reader.read(12)
    except TimeoutError:
        return False
    attacker.outcomes[answer[9:12].decode() or "no answer"] += 1
    return True
