"""Webhooks through a proxy: by the address that was vetted, and no other way."""

import asyncio
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from environs import ValidationError

from delivery.attempt_errors import AttemptError
from delivery.egress.proxy import Proxy
from delivery.webhooks.guard import GuardedResolver, NetworkPolicy
from delivery.webhooks.name_service import SocketAddress
from delivery.webhooks.sending import AttemptResult, WebhookSender
from delivery.webhooks.webhook_requests import WebhookRequest
from events_platform import values
from tests.support.http.certificates import signed_by_own_authority
from tests.support.http.connect_proxy import ConnectProxy, proxying
from tests.support.http.receiver import Receiver, receiving

LOOPBACK = NetworkPolicy(allow=(ip_network("127.0.0.1/32"),), allow_http=True)


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    with proxying() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def send(url: str, proxy_url: str, count: int = 1, **options: Any) -> list[AttemptResult]:
    async def run() -> list[AttemptResult]:
        async def look_up(host: str, port: int) -> list[SocketAddress]:
            return [("127.0.0.1", port)]

        policy = options.pop("policy", LOOPBACK)
        resolver = GuardedResolver(policy, look_up=look_up)
        through = Proxy.from_url(proxy_url)
        async with WebhookSender(policy=policy, proxy=through, resolver=resolver, timeout_seconds=5, **options) as one:
            return [await one.send(WebhookRequest(url=url, headers={}, body=b"{}")) for _ in range(count)]

    return asyncio.run(run())


def test_it_is_asked_for_an_address_and_never_for_a_name(proxy: ConnectProxy, receiver: Receiver) -> None:
    """One tunnel for several webhooks; what is recorded is the far end, not the proxy."""
    port = receiver.url.rpartition(":")[2]
    results = send(f"http://receiver.example:{port}/ok", proxy.url, 3)
    assert [result.error for result in results] == [None] * 3
    assert proxy.asked == [f"127.0.0.1:{port}"]
    assert {request.headers["host"] for request in receiver.received} == {f"receiver.example:{port}"}
    assert {result.remote_address for result in results} == {"127.0.0.1"}


def test_tls_is_spoken_with_the_endpoint(proxy: ConnectProxy, tmp_path: Path, settings: Any) -> None:
    context, ca_file = signed_by_own_authority(tmp_path, "127.0.0.1")
    with receiving(context=context) as receiver:
        settings.WEBHOOK_CA_FILE, settings.WEBHOOK_PROXY = str(ca_file), proxy.url
        settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]

        async def run() -> AttemptResult:
            async with WebhookSender.from_settings() as sender:
                return await sender.send(WebhookRequest(url=f"{receiver.url}/ok", headers={}, body=b"{}"))

        assert asyncio.run(run()).error is None
        assert receiver.total == len(proxy.asked) == 1
    [refused] = send("https://receiver.example/", proxy.url)
    assert refused.error is not None


def test_what_the_guard_refuses_the_proxy_is_not_asked_for(proxy: ConnectProxy) -> None:
    for url in ("http://169.254.169.254/", "http://10.1.2.3/", "http://name.example/"):
        [result] = send(url, proxy.url, policy=NetworkPolicy(allow_http=True))
        assert result.error is AttemptError.UNSAFE_ADDRESS
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("status", "error"), [(403, AttemptError.PROXY), (407, AttemptError.PROXY), (502, AttemptError.UNREACHABLE)]
)
def test_a_refusal_says_whose_it_is(proxy: ConnectProxy, receiver: Receiver, status: int, error: AttemptError) -> None:
    proxy.status = status
    [result] = send(f"{receiver.url}/ok", proxy.url)
    assert (result.error, receiver.total) == (error, 0)
    if error is AttemptError.PROXY:
        assert result.detail == f"The platform's proxy refused the connection: it answered {status}."


def test_a_proxy_that_is_away_or_none_is_no_fault_of_the_endpoint(receiver: Receiver) -> None:
    """Nothing goes around it."""
    [away] = send(f"{receiver.url}/ok", "http://127.0.0.1:1")
    assert (away.error, away.detail) == (AttemptError.PROXY, "The platform's proxy cannot be reached.")
    [none] = send(f"{receiver.url}/ok", receiver.url)
    assert (none.error, receiver.ids("/ok")) == (AttemptError.PROXY, [])


def test_it_is_told_who_asks(proxy: ConnectProxy, receiver: Receiver) -> None:
    send(f"{receiver.url}/ok", proxy.url.replace("//", "//user:p%40ss@"))
    assert proxy.authorizations == ["Basic dXNlcjpwQHNz"]


@pytest.mark.parametrize(
    "url", ["https://proxy:3128", "proxy:3128", "http://proxy", "http://proxy:x", "http://p:1/path"]
)
def test_what_is_no_proxy_stops_the_start_without_a_password_in_the_line(url: str) -> None:
    with pytest.raises(ValidationError, match="Use http://host:port") as caught:
        values.proxy(url)
    assert url not in str(caught.value)
