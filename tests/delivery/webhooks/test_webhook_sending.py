"""One attempt to deliver a webhook: whatever the endpoint does, the result says it, and nothing is left hanging."""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import uvloop

from delivery.attempt_errors import AttemptError
from delivery.attempts.exchange import MAX_HEADER_BYTES
from delivery.webhooks.answers import MAX_RESPONSE_BYTES
from delivery.webhooks.guard import GuardedResolver, NetworkPolicy
from delivery.webhooks.name_service import SocketAddress
from delivery.webhooks.sending import AttemptResult, WebhookSender
from delivery.webhooks.signing import generate_secret, secret_key, sign
from delivery.webhooks.webhook_requests import WebhookRequest
from tests.support.http.certificates import self_signed, signed_by_own_authority
from tests.support.http.raw_endpoint import answering
from tests.support.http.receiver import Receiver, receiver_process, receiving

LOOPBACK = NetworkPolicy(allow_http=True, allow=(ip_network("127.0.0.1/32"),))
SECRET = generate_secret()
TAKEN = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntaken"
BODY = json.dumps({"type": "invoice.paid", "data": {"amount": 1, "note": "Grüße"}}, ensure_ascii=False).encode()


_run: Any = asyncio.run


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"], autouse=True)
def _event_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers use uvloop, whose errors differ; a command may use asyncio's own loop."""
    monkeypatch.setattr(f"{__name__}._run", request.param)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(SECRET) as running:
        yield running


def signed(url: str, *, message_id: str = "0190", **headers: str) -> WebhookRequest:
    now = int(time.time())
    own = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign([secret_key(SECRET)], message_id, now, BODY),
    }
    return WebhookRequest(url=url, headers={**headers, **own}, body=BODY)


def send_all(*requests: WebhookRequest, one_by_one: bool = False, **options: Any) -> list[AttemptResult]:
    async def go() -> list[AttemptResult]:
        async with WebhookSender(**{"policy": LOOPBACK, "timeout_seconds": 10, **options}) as sender:
            if one_by_one:
                return [await sender.send(request) for request in requests]
            return await asyncio.gather(*map(sender.send, requests))

    results: list[AttemptResult] = _run(go())
    return results


def send(url: str, **options: Any) -> AttemptResult:
    return send_all(signed(url), **options)[0]


def test_it_works(receiver: Receiver) -> None:
    [result] = send_all(signed(receiver.url + "/ok", **{"Authorization": "Bearer abc", "X-Team": "billing"}))

    assert result.delivered
    assert (result.status, result.response_text, result.remote_address) == (200, "taken", "127.0.0.1")
    assert (result.response_truncated, result.retry_after, result.gone) == (False, None, False)
    assert result.duration_ms >= 0
    [request] = receiver.received
    assert (request.verified, request.id, request.body) == (True, "0190", BODY)
    assert request.headers["authorization"] == "Bearer abc"
    assert request.headers["x-team"] == "billing"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("events-platform-webhooks/")
    assert request.headers["accept-encoding"] == "identity"


def test_altered_body_is_not_verified(receiver: Receiver) -> None:
    request = signed(receiver.url + "/ok")
    send_all(WebhookRequest(url=request.url, headers=request.headers, body=BODY + b" "))
    assert [received.verified for received in receiver.received] == [False]


@pytest.mark.parametrize(
    ("path", "error", "status"),
    [
        ("/slow/0.1", None, 200),
        ("/status/204", None, 204),
        ("/status/299", None, 299),
        ("/endless", None, 200),
        ("/redirect", AttemptError.REDIRECT, 307),
        ("/status/304", AttemptError.REDIRECT, 304),
        ("/status/400", AttemptError.HTTP_ERROR, 400),
        ("/status/503", AttemptError.HTTP_ERROR, 503),
        ("/gone", AttemptError.HTTP_ERROR, 410),
        ("/busy/30", AttemptError.HTTP_ERROR, 429),
        ("/reset", AttemptError.CONNECTION_RESET, None),
        ("/garbage", AttemptError.INVALID_RESPONSE, None),
        ("/huge-header", AttemptError.INVALID_RESPONSE, None),
        ("/many-headers", AttemptError.INVALID_RESPONSE, None),
        ("/cut", AttemptError.INVALID_RESPONSE, 200),
    ],
)
def test_behaviour_of_the_endpoint_becomes_the_result(
    receiver: Receiver, path: str, error: AttemptError | None, status: int | None
) -> None:
    result = send(receiver.url + path)
    assert (result.error, result.status) == (error, status)
    assert result.delivered == (error is None)
    assert result.gone == (status == 410)
    assert result.detail
    assert len(receiver.received) == 1


@pytest.mark.parametrize(("path", "status"), [("/hang", None), ("/slow/30", None), ("/drip", 200)])
def test_endpoint_that_does_not_finish_times_out(receiver: Receiver, path: str, status: int | None) -> None:
    result = send(receiver.url + path, timeout_seconds=0.7)
    assert (result.error, result.status) == (AttemptError.TIMEOUT, status)
    assert result.duration_ms > 0


def test_flaky_endpoint_fails_half_of_the_time(receiver: Receiver) -> None:
    results = send_all(*[signed(receiver.url + "/flaky") for _ in range(20)], one_by_one=True)
    assert [result.delivered for result in results].count(True) == 10


def test_closed_port_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = send(f"http://127.0.0.1:{port}/")
    assert (result.error, result.status, result.remote_address) == (AttemptError.CONNECTION_REFUSED, None, None)


def test_long_answer_is_cut_and_its_connection_dropped(receiver: Receiver) -> None:
    result = send(receiver.url + "/endless")
    assert result.delivered
    assert result.response_truncated
    assert result.response_text == "x" * MAX_RESPONSE_BYTES


def test_answer_is_safe_to_store(receiver: Receiver) -> None:
    assert send(receiver.url + "/status/500").response_text == "nope"


def test_redirect_is_not_followed(receiver: Receiver) -> None:
    send(receiver.url + "/redirect")
    assert [request.path for request in receiver.received] == ["/redirect"]


def test_retry_after_is_read(receiver: Receiver) -> None:
    assert send(receiver.url + "/busy/120").retry_after == timedelta(seconds=120)
    assert send(receiver.url + "/busy/99999999").retry_after == timedelta(hours=24)
    assert send(receiver.url + "/busy/soon").retry_after is None


def test_cookies_are_not_kept(receiver: Receiver) -> None:
    receiver.behave("/hook", "cookie")
    send_all(*[signed(receiver.url + "/hook")] * 2, one_by_one=True)
    assert ["cookie" in request.headers for request in receiver.received] == [False, False]


def test_proxies_of_the_environment_are_ignored(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(SECRET) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert send(receiver.url + "/ok").delivered
    assert (len(receiver.received), len(proxy.received)) == (1, 0)


def test_url_with_a_password_is_refused(receiver: Receiver) -> None:
    result = send(receiver.url.replace("127.0.0.1", "user:pass@127.0.0.1") + "/ok")
    assert result.error is AttemptError.UNSAFE_ADDRESS
    assert receiver.received == []


def test_detail_does_not_tell_the_query_of_the_url(receiver: Receiver) -> None:
    for path in ("/huge-header", "/garbage", "/cut", "/reset", "/status/500", "/hang"):
        result = send(f"{receiver.url}{path}?token=hunter2", timeout_seconds=0.5)
        assert not result.delivered
        assert result.detail
        assert "hunter2" not in result.detail


def test_closed_sender_raises_instead_of_blaming_the_endpoint(receiver: Receiver) -> None:
    async def go() -> None:
        async with WebhookSender(policy=LOOPBACK) as sender:
            pass
        await sender.send(signed(receiver.url + "/ok"))

    with pytest.raises(RuntimeError):
        _run(go())


# --- What is told of the request and the answer --------------------------------------------------------------


def test_request_headers_are_told_as_they_are_sent_with_masked_values() -> None:
    heads: list[bytes] = []
    with answering(lambda: iter([TAKEN]), heads=heads) as url:
        [result] = send_all(signed(f"{url}/hook?a", **{"Authorization": "Bearer s3cr3t-t0ken", "X-Team": "billing"}))
    sent = dict(line.split(": ", 1) for line in heads[0].decode().split("\r\n")[1:])
    own = {"Authorization": "****0ken", "X-Team": "****"}
    assert result.request_headers == {**sent, **own}
    assert result.url == f"{url}/hook?a"


def test_response_headers_are_told_as_they_were_spelled() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nX-One: 1\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nX-Odd: \xff\r\ncontent-length: 0\r\n\r\n"
    )
    with answering(lambda: iter([answer])) as url:
        result = send(url)
    assert result.response_headers == {
        "X-One": "1",
        "set-cookie": "a=1, b=2",
        "X-Odd": "\N{REPLACEMENT CHARACTER}",
        "content-length": "0",
    }


def test_four_kilobytes_of_response_headers_are_kept() -> None:
    answer = b"HTTP/1.1 200 OK\r\nx-a: %s\r\nx-b: %s\r\ncontent-length: 0\r\n\r\n" % (b"a" * 3000, b"b" * 3000)
    with answering(lambda: iter([answer])) as url:
        result = send(url)
    assert result.delivered
    assert result.response_headers == {"x-a": "a" * 3000, "x-b": "b" * (MAX_HEADER_BYTES - 3006)}


# --- Connections ---------------------------------------------------------------------------------------------


def test_idle_connection_that_was_closed_is_replaced(receiver: Receiver) -> None:
    """Each second request on a connection finds it closed, and is sent again at once with the same `webhook-id`."""
    requests = [signed(receiver.url + "/once", message_id=f"m{number}") for number in range(3)]
    results = send_all(*requests, one_by_one=True)
    assert [result.delivered for result in results] == [True] * 3
    assert set(receiver.ids()) == {"m0", "m1", "m2"}


def test_new_connection_that_is_reset_is_not_tried_again(receiver: Receiver) -> None:
    results = send_all(*[signed(receiver.url + "/reset")] * 3, one_by_one=True)
    assert [result.error for result in results] == [AttemptError.CONNECTION_RESET] * 3
    assert len(receiver.received) == 3


def test_waiting_for_a_turn_is_not_the_endpoints_time(receiver: Receiver) -> None:
    requests = [signed(receiver.url + "/slow/0.4") for _ in range(6)]
    results = send_all(*requests, max_concurrent=2, timeout_seconds=1.1)
    assert [result.delivered for result in results] == [True] * 6


def test_hundreds_at_once_each_get_their_own_result(receiver: Receiver) -> None:
    paths = ["/ok", "/status/500", "/reset", "/garbage", "/endless", "/busy/7"] * 50
    results = send_all(*[signed(f"{receiver.url}{path}") for path in paths])
    expected = [None, AttemptError.HTTP_ERROR, AttemptError.CONNECTION_RESET, AttemptError.INVALID_RESPONSE, None]
    assert [result.error for result in results] == [*expected, AttemptError.HTTP_ERROR] * 50


def test_receiver_in_its_own_process_can_be_told_what_to_do() -> None:
    with receiver_process(SECRET, keep=True) as url:
        assert send(f"{url}/hook").delivered
        send(f"{url}/_/behave/status/503/at/hook")
        assert send(f"{url}/hook").status == 503
        shown = json.loads(send(f"{url}/_/received").response_text)
    assert shown == {"total": 2, "verified": 2, "ids": ["0190", "0190"]}


# --- TLS -----------------------------------------------------------------------------------------------------


def resolver_to_loopback() -> GuardedResolver:
    async def look_up(host: str, port: int) -> list[SocketAddress]:
        return [("127.0.0.1", port)]

    return GuardedResolver(LOOPBACK, look_up=look_up)


def send_tls(tmp_path: Path, *, host: str, trusted: bool = True) -> AttemptResult:
    server, client = self_signed(tmp_path, "hooks.example.com")

    async def go(url: str) -> AttemptResult:
        context: ssl.SSLContext | None = client if trusted else None
        async with WebhookSender(policy=LOOPBACK, ssl_context=context, resolver=resolver_to_loopback()) as sender:
            return await sender.send(signed(url))

    with receiving(SECRET, context=server) as receiver:
        result: AttemptResult = _run(go(receiver.url.replace("127.0.0.1", host) + "/ok"))
        return result


def test_certificate_is_checked_against_the_name_not_the_address(tmp_path: Path) -> None:
    assert send_tls(tmp_path, host="hooks.example.com").delivered
    assert send_tls(tmp_path, host="other.example.com").error is AttemptError.TLS
    assert send_tls(tmp_path, host="127.0.0.1").error is AttemptError.TLS


def test_an_authority_of_ones_own_is_trusted_once_its_file_is_named(tmp_path: Path, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = list(LOOPBACK.allow)
    server, ca_file = signed_by_own_authority(tmp_path, "127.0.0.1")

    async def go(url: str) -> AttemptResult:
        async with WebhookSender.from_settings() as sender:
            return await sender.send(signed(url))

    with receiving(SECRET, context=server) as receiver:
        refused: AttemptResult = _run(go(f"{receiver.url}/ok"))
        assert (refused.error, refused.status) == (AttemptError.TLS, None)
        settings.WEBHOOK_CA_FILE = str(ca_file)
        taken: AttemptResult = _run(go(f"{receiver.url}/ok"))
        assert taken.delivered, taken.detail


def test_unknown_certificate_is_refused(tmp_path: Path) -> None:
    result = send_tls(tmp_path, host="hooks.example.com", trusted=False)
    assert (result.error, result.status) == (AttemptError.TLS, None)
    assert "it is self-signed" in result.detail


def test_plain_http_behind_https_is_a_tls_error(receiver: Receiver) -> None:
    assert send(receiver.url.replace("http:", "https:") + "/ok").error is AttemptError.TLS


def test_sender_comes_from_the_settings(receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_TIMEOUT_SECONDS = 1.0

    async def go() -> list[AttemptResult]:
        async with WebhookSender.from_settings() as sender:
            return await asyncio.gather(*[sender.send(signed(receiver.url + path)) for path in ("/ok", "/hang")])

    assert [result.error for result in _run(go())] == [None, AttemptError.TIMEOUT]
