"""HTTP/1.1 on real sockets, with applications of a few lines: what a connection hands on, answers itself and ends."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from core import bounds
from rest.doors.asgi import Application, ConnectionScope, Receive, Send
from rest.doors.connections import Connection, Connections

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n"
LAST = b"Connection: close\r\n"
T = TypeVar("T")


async def echo(scope: ConnectionScope, receive: Receive, send: Send) -> None:
    """Says what it was asked, and with which fields and body."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    fields = b" ".join(name for name, _ in scope["headers"])
    await answer(send, b"%b %b [%b] %b;" % (scope["method"].encode(), scope["raw_path"], fields, body))


async def answer(send: Send, body: bytes, *fields: tuple[bytes, bytes]) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length, *fields]})
    await send({"type": "http.response.body", "body": body})


def talk(application: Application, sent: bytes, *, ending: bool = False) -> bytes:
    """All that comes back on one connection until the server closes it."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(sent)
        return await reader.read()

    return serving(application, conversation, ending=ending)


def serving(
    application: Application,
    conversation: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[T]],
    *,
    ending: bool = False,
) -> T:
    async def run() -> T:
        connections = Connections(lambda _: None)
        connections.are_ending = ending
        config = Config(application, log_config=None)
        config.load()
        made = partial(Connection, connections, config=config, server_state=ServerState(), app_state={})
        server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            return await asyncio.wait_for(conversation(reader, writer), 10)
        finally:
            writer.close()
            server.close()

    return asyncio.run(run())


def test_requests_that_come_at_once_are_answered_one_by_one_in_their_order() -> None:
    post = b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    said = talk(echo, GET % (b"/1", b"") + post + GET % (b"/3", LAST))
    assert said.count(b"HTTP/1.1 200 OK") == 3
    first, second, third = (
        said.index(part) for part in (b"GET /1 [host] ;", b"] abcde;", b"GET /3 [host connection] ;")
    )
    assert first < second < third


def test_what_is_no_request_is_told_only_behind_the_answers_before_it() -> None:
    """The first answer that a client reads is that to its first request, and nothing is answered after nonsense."""
    said = talk(echo, GET % (b"/1", b"") + b"NONSENSE\r\n\r\n" + GET % (b"/3", b""))
    assert said.startswith(b"HTTP/1.1 200 OK")
    assert b"GET /1" in said
    assert b"/3" not in said
    assert talk(echo, b"NONSENSE\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_a_connection_has_few_requests_at_once() -> None:
    """Those that fit are answered; then it ends, and the client asks again for the others."""
    said = talk(echo, GET % (b"/", b"") * 5_000)
    assert said.count(b"HTTP/1.1 200 OK") == 1 + bounds.MAX_PIPELINED
    assert said.count(b"HTTP/1.1 ") == 1 + bounds.MAX_PIPELINED
    assert said.count(b"Connection: close") == 1


def test_few_header_fields_wait_with_them() -> None:
    """In memory each is some thirty times as long as on the wire."""
    said = talk(echo, GET % (b"/", b"a:b\r\n" * 90) * 20)
    assert said.count(b"HTTP/1.1 200 OK") == 1 + bounds.MAX_PIPELINED_FIELDS // 91
    assert said.count(b"Connection: close") == 1


def test_a_head_that_is_too_long_is_refused_behind_a_body_as_well() -> None:
    long = GET % (b"/", b"".join(b"a%d: %b\r\n" % (number, b"x" * 500) for number in range(80)))
    assert len(long) > bounds.MAX_HEAD_BYTES
    said = talk(echo, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30_000 + long)
    assert said.count(b"HTTP/1.1 200 OK") == 1
    assert b"GET /" not in said


def test_little_of_a_body_is_read_before_anybody_asks_for_it() -> None:
    """Whose it is is not known then: it counts for nobody."""
    sizes: list[int] = []

    async def slow(scope: ConnectionScope, receive: Receive, send: Send) -> None:
        while not asked.is_set():
            await asyncio.sleep(0)
        message = await receive()
        sizes.append(len(message["body"]))
        while message["more_body"]:
            message = await receive()
        await answer(send, b"read")

    async def send_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n")
        writer.write(b"x" * 8_000_000)
        with suppress(TimeoutError):
            await asyncio.wait_for(writer.drain(), 0.2)  # the socket is full when nobody reads
        asked.set()
        return await reader.readuntil(b"read")

    asked = asyncio.Event()
    assert b"200 OK" in serving(slow, send_much)
    assert 0 < sizes[0] <= bounds.MAX_READ_AHEAD_BYTES + bounds.READ_BYTES < 16_384


def test_a_bad_end_of_a_body_behind_its_answer_gets_no_answer_of_its_own() -> None:
    async def hasty(scope: ConnectionScope, receive: Receive, send: Send) -> None:
        await answer(send, b"done")

    async def send_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        said = await reader.readuntil(b"done")
        writer.write(b"nonsense\r\n")
        return said + await reader.read()

    assert serving(hasty, send_on).count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b" folded: 1\r\n",
        b"X: a\0b\r\n",
        b"X(y): 1\r\n",
    ],
)
def test_a_body_that_two_servers_could_cut_differently_is_refused(framing: bytes) -> None:
    said = talk(echo, b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n0\r\n\r\n" + GET % (b"/smuggled", LAST))
    assert said.startswith(b"HTTP/1.1 400")
    assert b"smuggled" not in said


@pytest.mark.parametrize("line_end", [b"\n", b"\r"])
def test_a_line_has_one_kind_of_end(line_end: bytes) -> None:
    said = talk(echo, b"GET / HTTP/1.1" + line_end + b"Host: a" + line_end + line_end + GET % (b"/2", LAST))
    assert said.startswith(b"HTTP/1.1 400")


def test_names_that_could_pass_for_others_and_trailers_are_dropped() -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nX_Real_Ip: 1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    said = talk(echo, chunked + b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n")
    assert b"[host connection transfer-encoding] a;" in said


@pytest.mark.parametrize("rest", [b"X: " + b"a" * 100 + b"\r\n", b"1;" + b"e" * 100 + b"\r\na\r\n"])
def test_what_frames_a_body_has_a_bound(rest: bytes) -> None:
    """Trailers, and extensions of chunks, of a few hundred bytes are nobody's harm; without an end they are."""
    start = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
    opened = start if rest.startswith(b"1;") else start + b"0\r\n"

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(opened)
        said = asyncio.ensure_future(reader.read())
        for _ in range(2 * bounds.MAX_HEAD_BYTES // len(rest)):
            writer.write(rest)
            await asyncio.sleep(0)
        return await said

    assert serving(echo, drip).startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))


def test_an_offer_of_another_protocol_is_not_taken_up() -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    body = b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n%b\r\nabc" % offer
    said = talk(echo, GET % (b"/1", offer) + body + GET % (b"/3", LAST))
    assert said.count(b"HTTP/1.1 200 OK") == 3
    assert b"] abc;" in said
    assert b"GET /3" in said


def test_a_client_is_told_to_go_on_when_somebody_wants_the_body() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"

    async def wait_for_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        return await reader.read()

    assert serving(echo, wait_for_it).endswith(b"] abc;")


def test_a_client_of_http_1_0_gets_the_end_of_the_answer_by_the_end_of_the_connection() -> None:
    async def stream(scope: ConnectionScope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"a", b"b"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    assert talk(stream, b"GET / HTTP/1.0\r\n\r\n").endswith(b"Connection: close\r\n\r\nab")
    assert talk(stream, GET % (b"/", LAST)).endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    assert talk(stream, b"HEAD / HTTP/1.1\r\nHost: a\r\n" + LAST + b"\r\n").endswith(b"\r\n\r\n")


@pytest.mark.parametrize("field", [(b"x", b"a\r\nSet-Cookie: b"), (b"x: y\nz", b"a"), (b"x", b"a\rb")])
def test_no_value_adds_a_header_field(field: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture) -> None:
    async def careless(scope: ConnectionScope, receive: Receive, send: Send) -> None:
        await answer(send, b"", field)

    said = talk(careless, GET % (b"/", b""))
    assert said.startswith(b"HTTP/1.1 500")
    assert b"internal_error" in said
    assert b"Set-Cookie" not in said
    assert "line break" in caplog.text


def test_an_application_that_fails_is_a_problem_and_a_half_answer_has_no_end(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(scope: ConnectionScope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("secret")

    said = talk(fail, GET % (b"/", b"Request-Id: mine\r\n"))
    assert said.startswith(b"HTTP/1.1 500")
    assert b"application/problem+json" in said
    assert b"secret" not in said
    assert b'"request_id": "mine"' in said
    assert talk(fail, GET % (b"/late", b"")).endswith(b"content-length: 9\r\n\r\nhalf")
    assert caplog.text.count("ValueError: secret") == 2


def test_each_answer_closes_its_connection_when_the_process_ends() -> None:
    assert b"Connection: close\r\n" in talk(echo, GET % (b"/", b""), ending=True)


def test_who_works_for_a_client_that_has_gone_is_told_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "GONE_SECONDS", 0.01)
    seen: list[Any] = []
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work(scope: ConnectionScope, receive: Receive, send: Send) -> None:
        await receive()
        begun.set()
        try:
            seen.append(await receive())
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET % (b"/", b""))
        await begun.wait()
        writer.close()
        await ended.wait()

    serving(work, leave)
    assert seen == [{"type": "http.disconnect"}]


def test_an_answer_waits_for_its_reader() -> None:
    parts: list[int] = []

    async def much(scope: ConnectionScope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(200):
            parts.append(number)
            await send({"type": "http.response.body", "body": b"a" * 100_000, "more_body": number < 199})

    async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(GET % (b"/", LAST))
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(parts) < 199
        return await reader.read()

    assert serving(much, read_late).count(b"a" * 100_000) == 200
