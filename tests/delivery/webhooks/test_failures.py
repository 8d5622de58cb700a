"""Each failure has its code and a sentence that says what to do, and how far the attempt came; against real servers."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import uvloop

from delivery.attempt_errors import AttemptError
from delivery.attempts.exchange import Timings
from delivery.webhooks import name_service
from delivery.webhooks.failures import judge_status
from delivery.webhooks.guard import GuardedResolver, NetworkPolicy
from delivery.webhooks.name_service import SocketAddress
from delivery.webhooks.sending import AttemptResult, WebhookSender
from delivery.webhooks.webhook_requests import WebhookRequest
from tests.support.http.certificates import self_signed, signed_by_own_authority
from tests.support.http.raw_endpoint import answering
from tests.support.http.receiver import receiving

LOOPBACK = NetworkPolicy(allow_http=True, allow=(ip_network("127.0.0.1/32"),))
TAKEN = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntaken"
ISSUER = "its issuer is unknown; if it is a public authority, the server does not send the whole chain"

_run: Any = asyncio.run


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"], autouse=True)
def _event_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers use uvloop, whose errors differ; tests of a webhook asyncio's own."""
    monkeypatch.setattr(f"{__name__}._run", request.param)


async def to_loopback(host: str, port: int) -> list[SocketAddress]:
    return [("127.0.0.1", port)]


def send(url: str, *, count: int = 1, resolver: bool = True, **options: Any) -> list[AttemptResult]:
    async def go() -> list[AttemptResult]:
        found = GuardedResolver(LOOPBACK, look_up=to_loopback) if resolver else None
        async with WebhookSender(**{"policy": LOOPBACK, "timeout_seconds": 10, "resolver": found, **options}) as sender:
            return [await sender.send(WebhookRequest(url=url, headers={}, body=b"{}")) for _ in range(count)]

    results: list[AttemptResult] = _run(go())
    return results


def send_tls(server: ssl.SSLContext, client: ssl.SSLContext, host: str, *, count: int = 1) -> list[AttemptResult]:
    with answering(lambda: iter([TAKEN]), context=server) as url:
        return send(url.replace("127.0.0.1", host), count=count, ssl_context=client)


@contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of a server that does this with each connection, and then closes it."""

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


# --- TLS -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "host", "trusted", "why"),
    [
        (-1, "hooks.example.com", True, "it has expired; renew it"),
        (1, "hooks.example.com", False, "it is self-signed; use one of an authority that is publicly trusted"),
        (1, "other.example.com", True, "it was issued for another host name than the one in the URL"),
        (1, "127.0.0.1", True, "it was not issued for the address in the URL; use the host name that it names"),
    ],
    ids=["expired", "self-signed", "wrong-name", "wrong-address"],
)
def test_what_is_wrong_with_a_certificate_is_said(
    tmp_path: Path, days: int, host: str, trusted: bool, why: str
) -> None:
    server, client = self_signed(tmp_path, "hooks.example.com", days=days)
    (result,) = send_tls(server, client if trusted else ssl.create_default_context(), host)
    assert (result.error, result.status) == (AttemptError.TLS, None)
    assert result.detail == f"The server's certificate is not accepted: {why}."
    assert result.remote_address == "127.0.0.1"
    assert result.timings.tls_ms is not None
    assert result.timings.first_byte_ms is None


def test_an_incomplete_chain_is_suspected_when_the_issuer_is_unknown(tmp_path: Path) -> None:
    server, _ = signed_by_own_authority(tmp_path, "hooks.example.com")
    (result,) = send_tls(server, ssl.create_default_context(), "hooks.example.com")
    assert result.error is AttemptError.TLS
    assert result.detail.startswith(f"The server's certificate is not accepted: {ISSUER}")


def test_a_port_that_does_not_speak_tls_is_named() -> None:
    with listening(lambda peer: peer.sendall(b"220 mail\r\n")) as port:
        (result,) = send(f"https://127.0.0.1:{port}/")
    assert result.error is AttemptError.TLS
    assert result.detail == (
        "No secure connection could be made: the port does not speak TLS; check the scheme and the port of the URL."
    )


def test_outdated_tls_is_named(tmp_path: Path) -> None:
    server, client = self_signed(tmp_path, "hooks.example.com")
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    (result,) = send_tls(server, client, "hooks.example.com")
    assert result.error is AttemptError.TLS
    assert "versions of TLS" in result.detail or "outdated" in result.detail, result.detail


# --- Names ---------------------------------------------------------------------------------------------------


@contextmanager
def name_server(answer: Callable[[bytes], bytes | None]) -> Iterator[str]:
    """One that answers each question so, or not at all."""

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while question := server.recvfrom(512):
                if (reply := answer(question[0])) is not None:
                    server.sendto(reply, question[1])

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as last:
            last.sendto(b"", server.getsockname())


def with_code(code: int) -> Callable[[bytes], bytes]:
    """An answer without any record: the header of RFC 1035, 4.1.1, and the question."""
    return lambda question: question[:2] + bytes([0x81, 0x80 | code]) + question[4:6] + bytes(6) + question[12:]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (with_code(3), "The host name does not exist: check its spelling"),
        (with_code(0), "The host name has no address"),
        (with_code(2), "The name servers of the domain could not answer"),
        (lambda _: None, "The name servers gave no answer for the host name"),
    ],
    ids=["no-such-name", "no-address", "server-failure", "silence"],
)
def test_what_the_name_servers_say_is_told(
    answer: Callable[[bytes], bytes | None], sentence: str, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(name_service, "LOOK_UP_SECONDS", 1.0)
    with name_server(answer) as address:
        settings.WEBHOOK_NAME_SERVERS = [address]
        (result,) = send("https://hooks.example.com/", resolver=False)
    assert (result.error, result.remote_address) == (AttemptError.DNS, None)
    assert result.detail.startswith(sentence)
    assert result.timings.dns_ms is not None
    assert result.timings.connect_ms is None


# --- Connections and answers ---------------------------------------------------------------------------------


def test_a_closed_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (result,) = send(f"http://127.0.0.1:{port}/hook?token=hunter2")
    assert result.error is AttemptError.CONNECTION_REFUSED
    assert result.detail == f"The host refused the connection: nothing listens on its port {port}."


def test_a_host_that_does_not_answer_is_told_from_an_endpoint_that_does_not() -> None:
    """A full backlog drops what is sent to it, like a firewall."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        (result,) = send(f"http://127.0.0.1:{full.getsockname()[1]}/", timeout_seconds=0.5)
        for one in waiting:
            one.close()
    assert result.error is AttemptError.TIMEOUT
    assert result.detail.startswith("No connection within 0.5 s")
    assert (result.timings.connect_ms or 0) > 0
    assert result.timings.first_byte_ms is None


@pytest.mark.parametrize(
    ("path", "sentence", "error"),
    [
        ("/hang", "The endpoint took the request, but did not answer within 0.5 s", AttemptError.TIMEOUT),
        ("/drip", "The answer had begun, but was not complete within 0.5 s.", AttemptError.TIMEOUT),
        ("/reset", "The endpoint closed the connection without an answer.", AttemptError.CONNECTION_RESET),
        ("/cut", "The answer ended before it was complete.", AttemptError.INVALID_RESPONSE),
        ("/garbage", "The answer is not valid HTTP", AttemptError.INVALID_RESPONSE),
        ("/redirect", "The endpoint answered 307 (Temporary Redirect): redirects are not", AttemptError.REDIRECT),
        ("/status/404", "The endpoint answered 404 (Not Found): it has nothing at this path", AttemptError.HTTP_ERROR),
    ],
)
def test_the_sentence_tells_how_far_it_came(path: str, sentence: str, error: AttemptError) -> None:
    with receiving() as receiver:
        (result,) = send(f"{receiver.url}{path}", timeout_seconds=0.5)
    assert (result.error, result.detail[: len(sentence)]) == (error, sentence)
    assert result.timings.first_byte_ms is not None


def test_tls_that_is_never_agreed_on_is_told_from_a_slow_answer() -> None:
    done = threading.Event()
    with listening(lambda _: done.wait(10)) as port:
        (silent,) = send(f"https://127.0.0.1:{port}/", timeout_seconds=0.5)
        done.set()
    with listening(lambda peer: peer.recv(1)) as port:
        (closed,) = send(f"https://127.0.0.1:{port}/")
    assert silent.error is AttemptError.TIMEOUT
    assert silent.detail == "The connection was made, but TLS was not agreed on within 0.5 s."
    assert closed.error in (AttemptError.CONNECTION_RESET, AttemptError.TLS)
    assert "closed the connection while TLS was being agreed on" in closed.detail


@pytest.mark.parametrize("status", [200, 204, 299, 301, 400, 401, 418, 499, 500, 599, 999])
def test_every_status_has_a_sentence(status: int) -> None:
    _, sentence = judge_status(status)
    assert sentence.startswith(f"The endpoint answered {status}")
    assert sentence.endswith(".")


# --- Times ---------------------------------------------------------------------------------------------------


def test_each_step_is_timed_and_only_a_new_connection_has_all(tmp_path: Path) -> None:
    server, client = self_signed(tmp_path, "hooks.example.com")
    first, second = send_tls(server, client, "hooks.example.com", count=2)
    assert None not in first.timings.__struct_fields__
    assert all(getattr(first.timings, name) is not None for name in Timings.__struct_fields__)
    assert second.timings == Timings(first_byte_ms=second.timings.first_byte_ms)
    assert second.timings.first_byte_ms is not None


def test_without_tls_there_is_no_time_of_tls() -> None:
    with receiving() as receiver:
        (result,) = send(f"{receiver.url}/ok")
    assert result.timings.tls_ms is None
    assert None not in (result.timings.dns_ms, result.timings.connect_ms, result.timings.first_byte_ms)
