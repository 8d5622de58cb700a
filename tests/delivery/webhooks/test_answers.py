"""What an endpoint can make us read: a bounded number of bytes and answers, whatever they are, and then no more."""

import asyncio
import ssl
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import uvloop

from delivery.attempt_errors import AttemptError
from delivery.webhooks.answers import (
    MAX_INFORMATIONAL,
    MAX_LINE_BYTES,
    MAX_RECEIVED_BYTES,
    MAX_RESPONSE_BYTES,
    BoundedAnswer,
    ExcessiveAnswer,
)
from delivery.webhooks.guard import NetworkPolicy
from delivery.webhooks.sending import AttemptResult, WebhookSender
from delivery.webhooks.webhook_requests import WebhookRequest
from tests.support.http.certificates import signed_by_own_authority
from tests.support.http.raw_endpoint import Answer, answering, endless

LOOPBACK = NetworkPolicy(allow_http=True, allow=(ip_network("127.0.0.1/32"),))
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\n" + b"link: <a>\r\n" * 60 + b"\r\n"
TAKEN = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntaken"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
# Long enough that whoever goes on reading runs into it, and no test waits for it otherwise.
SECONDS = 4.0

_run: Any = asyncio.run


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"], autouse=True)
def _event_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers use uvloop, tests of a webhook asyncio's own."""
    monkeypatch.setattr(f"{__name__}._run", request.param)


def send(url: str, *, count: int = 1, **options: Any) -> list[AttemptResult]:
    async def go() -> list[AttemptResult]:
        async with WebhookSender(policy=LOOPBACK, timeout_seconds=SECONDS, **options) as sender:
            return [await sender.send(WebhookRequest(url=url, headers={}, body=b"{}")) for _ in range(count)]

    results: list[AttemptResult] = _run(go())
    return results


@pytest.mark.parametrize(
    "answer",
    [
        endless(b"", CONTINUE),
        endless(b"", HINTS),
        endless(b"", b"\r\n"),
        endless(CHUNKED + b"1;", b"extension"),
        endless(CHUNKED, b"1\r\nx\r\n"),
        endless(CHUNKED + b"1\r\nx\r\n0\r\n", b"trailer: x\r\n"),
    ],
    ids=["informational", "hints", "blank-lines", "chunk-extension", "chunks-of-a-byte", "trailers"],
)
def test_an_endless_answer_is_ended_long_before_its_time(answer: Answer) -> None:
    with answering(answer) as url:
        (result,) = send(url)
    assert result.error is AttemptError.INVALID_RESPONSE, result.detail


def test_the_sentence_says_that_it_was_too_much() -> None:
    with answering(endless(b"", CONTINUE)) as url:
        (result,) = send(url)
    assert result.detail == "The endpoint sends more than an answer may have."


@pytest.mark.parametrize(("more", "delivered"), [(0, True), (1, False)])
def test_a_handful_of_informational_answers_may_come_first(more: int, delivered: bool) -> None:
    answer = CONTINUE * (MAX_INFORMATIONAL + more) + TAKEN
    with answering(lambda: iter([answer])) as url:
        (result,) = send(url)
    assert result.delivered is delivered, result.detail


@pytest.mark.parametrize("length", [MAX_RESPONSE_BYTES - 1, MAX_RESPONSE_BYTES + 1, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_long_body_is_cut_and_is_no_fault(length: int, chunked: bool) -> None:
    if chunked:
        answer = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for size in _sizes(length)) + b"0\r\n\r\n"
    else:
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length + b"x" * length
    with answering(lambda: iter([answer])) as url:
        (result,) = send(url)
    assert (result.delivered, result.response_text) == (True, "x" * min(length, MAX_RESPONSE_BYTES)), result.detail
    assert result.response_truncated is (length > MAX_RESPONSE_BYTES)


def _sizes(length: int) -> Iterator[int]:
    """Chunks as a program makes them that writes line by line."""
    for begin in range(0, length, 100):
        yield min(100, length - begin)


@pytest.mark.parametrize(
    ("length", "status"), [(60_000, 200), (MAX_LINE_BYTES - len("x-policy"), 200), (MAX_LINE_BYTES, None)]
)
def test_an_answer_with_a_long_header_line_is_judged_by_its_status(length: int, status: int | None) -> None:
    answer = b"HTTP/1.1 200 OK\r\nx-policy: %s\r\ncontent-length: 5\r\n\r\ntaken" % (b"p" * length)
    with answering(lambda: iter([answer])) as url:
        (result,) = send(url)
    assert (result.status, result.delivered) == (status, status == 200), result.detail


def test_each_answer_on_a_connection_is_counted_by_itself() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n" + b"x" * 20_000
    with answering(lambda: iter([CONTINUE * 5, answer])) as url:
        results = send(url, count=8)
    assert [result.delivered for result in results] == [True] * 8


def test_many_such_endpoints_at_once_leave_the_others_alone() -> None:
    async def go(urls: list[str]) -> list[AttemptResult]:
        async with WebhookSender(policy=LOOPBACK, timeout_seconds=SECONDS) as sender:
            requests = [WebhookRequest(url=url, headers={}, body=b"{}") for url in urls]
            return await asyncio.gather(*map(sender.send, requests))

    with answering(endless(b"", CONTINUE)) as hostile, answering(lambda: iter([TAKEN])) as good:
        results: list[AttemptResult] = _run(go([hostile, hostile, good] * 30))
    assert [result.delivered for result in results] == [False, False, True] * 30
    assert AttemptError.TIMEOUT not in {result.error for result in results}


@pytest.mark.parametrize(("tickets", "delivered"), [(2, True), (5_000, False)], ids=["as-usual", "flood"])
def test_tls_itself_may_not_send_without_end(tmp_path: Path, tickets: int, delivered: bool) -> None:
    """TLS 1.3 lets a server hand out session tickets as it likes, none of which is an answer."""
    server, ca_file = signed_by_own_authority(tmp_path, "127.0.0.1")
    server.num_tickets = tickets
    context = ssl.create_default_context(cafile=ca_file)
    with answering(lambda: iter([TAKEN]), context=server) as url:
        results = send(url, count=2, ssl_context=context)
    assert {result.delivered for result in results} == {delivered}, results[0].detail


class Wire(asyncio.Transport):
    """Counts what is asked of it."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_a_byte_at_a_time_costs_whoever_sends_it() -> None:
    """A head that comes byte by byte would otherwise be some 65 000 turns of the event loop."""

    async def go() -> int:
        answer, wire = BoundedAnswer(asyncio.get_running_loop()), Wire()
        answer.connection_made(wire)
        answer.set_response_params(max_field_size=1_000_000)
        pieces = 0
        answer.data_received(b"HTTP/1.1 200 OK\r\nx: ")
        while not wire.aborted:
            answer.data_received(b"x")
            pieces += 1
        assert isinstance(answer.exception(), ExcessiveAnswer)
        return pieces

    assert _run(go()) <= MAX_RECEIVED_BYTES / 50
