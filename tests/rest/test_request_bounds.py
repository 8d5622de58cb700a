"""What bounds a request, at a really running server: bytes, time, memory, connections; with a key and without."""

import fcntl
import os
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pytest_django import DjangoDbBlocker

from core import bounds
from ingestion.models import Event
from organizations.operations import suspend_organization
from tests.factories import TESTER
from tests.support.http.clients import Sender, make_sender
from tests.support.http.raw_http import Peer, ask
from tests.support.servers import Server, serve
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

MIB = 1024 * 1024
EVENT = {"type": "invoice.paid", "data": {"amount": 12900}}
MOST_CONNECTIONS = 300


@pytest.fixture(scope="module")
def server(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Server]:
    """One process, with fewer connections than usual."""
    options = f"--worker-connections {MOST_CONNECTIONS}"
    with django_db_blocker.unblock(), serve(workers=1, GUNICORN_CMD_ARGS=options) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Server]:
    """One process, whose bounds in time are a second or less."""
    options = "--worker-class tests.support.http.impatient.Worker --keep-alive 1"
    with django_db_blocker.unblock(), serve(workers=1, GUNICORN_CMD_ARGS=options) as running:
        yield running


def head(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *fields, "", ""]).encode()


def keyed(sender: Sender, method: str, path: str, *fields: str) -> bytes:
    return head(method, path, f"Authorization: Bearer {sender.client.key}", "Content-Type: application/json", *fields)


def worker_of(server: Server) -> psutil.Process:
    (worker,) = psutil.Process(server.process.pid).children()
    return worker


def still_works(server: Server) -> None:
    """For whoever keeps to the rules, in a batch of half the size that one may have."""
    sender = make_sender(server.base_url)
    batch = [{"type": "a", "data": "x" * 200_000}] * 12
    assert sender.client.post("/api/v1/events/batch", batch).json()["accepted"] == 12
    assert sender.client.post("/api/v1/events", EVENT).status == 202


# --- Bytes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["Content-Length: 5000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/events"),
        ("POST", "/api/v1/events/batch"),
        ("POST", "/api/v1/subscriptions"),
        ("PATCH", "/api/v1/event-types/a"),
        ("GET", "/api/v1/events"),
        ("POST", "/api/v1/nothing"),
    ],
)
def test_nothing_of_a_body_is_read_before_its_key_is_known(server: Server, method: str, path: str, length: str) -> None:
    for key in ((), ("X-API-Key: evp_live_nobody",)):
        peer = Peer(server.base_url, buffer=16_384)
        peer.send(head(method, path, length, *key))
        chunk = b"x" * 65_536
        taken = peer.push(b"10000\r\n" + chunk + b"\r\n" if "chunked" in length else chunk, most=5_000_000)
        answer = peer.read()
        assert answer.status == 401
        assert answer.headers["connection"] == "close"
        assert answer.json()["request_id"] == answer.headers["request-id"]
        # What lies in the buffers of the two sockets.
        assert taken < 1_000_000


def test_a_refused_key_of_a_short_request_ends_the_connection_too(server: Server) -> None:
    peer = Peer(server.base_url)
    peer.send(head("POST", "/api/v1/events", "Content-Length: 2") + b"{}")
    answer = peer.read_to_end()
    assert (answer.status, answer.headers["connection"]) == (401, "close")


def test_a_key_that_may_not_write_is_told_before_the_body_is_read(server: Server) -> None:
    reader, suspended = make_sender(server.base_url, scopes=["events:read"]), make_sender(server.base_url)
    suspend_organization(organization=suspended.organization, reason="unpaid", actor=TESTER)
    for sender, code in ((reader, "insufficient_scope"), (suspended, "organization_suspended")):
        peer = Peer(server.base_url, buffer=16_384)
        peer.send(keyed(sender, "POST", "/api/v1/events/batch", "Content-Length: 5000000"))
        assert peer.push(b"x" * 65_536, most=5_000_000) < 1_000_000
        assert (peer.read().status, peer.read().json()["code"]) == (403, code)


@pytest.mark.parametrize("accept", ["text/html,*/*", "application/json"])
@pytest.mark.parametrize("length", ["Content-Length: 800000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    "path",
    ["/", "/console/sign-in/", "/admin/login/", "/account/password/reset/", "/console/o/a/keys/",
     "/static/platform.css", "/api/schema", "/api/nothing", "/health/live", "/metrics", "/nowhere"],
)  # fmt: skip
def test_no_route_takes_a_body_without_a_bound(server: Server, path: str, length: str, accept: str) -> None:
    peer = Peer(server.base_url, buffer=16_384)
    peer.send(head("POST", path, length, f"Accept: {accept}"))
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    assert peer.push(chunk if "chunked" in length else b"x" * 65_536, most=8 * MIB) < 4 * MIB
    answer = peer.read()
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    is_page = accept.startswith("text/html") and not path.startswith("/api/")
    assert answer.headers["content-type"] == ("text/html; charset=utf-8" if is_page else "application/problem+json")
    assert answer.headers["request-id"] in answer.body.decode()


def test_who_has_a_key_sees_why_a_body_is_too_large(server: Server) -> None:
    sender = make_sender(server.base_url)
    for path, size in (("/api/v1/events", 300_000), ("/api/v1/events/batch", 6 * MIB), ("/api/v1/replays", 2 * MIB)):
        reply = sender.client.post(path, b"x" * size)
        assert (reply.status, reply.json()["code"]) == (413, "payload_too_large"), path
        assert "ratelimit" in reply.headers
    endless = Peer(server.base_url)
    endless.send(keyed(sender, "POST", "/api/v1/events/batch", "Content-Length: 800000000"))
    assert endless.push(b"x" * 65_536, most=100 * MIB) < 32 * MIB
    assert endless.read().status == 413


def test_bodies_of_many_connections_fit_into_memory(server: Server) -> None:
    """200 with 4.9 MB each, of two organizations and of nobody; and then everything is as before."""
    senders = [make_sender(server.base_url), make_sender(server.base_url)]
    still_works(server)
    before = worker_of(server).memory_info().rss
    peers = []
    for number in range(200):
        starts = [keyed(sender, "POST", "/api/v1/events/batch", "Content-Length: 4900000") for sender in senders]
        starts.append(head("POST", "/api/v1/events/batch", "Content-Length: 4900000"))
        starts.append(head("POST", "/console/o/a/keys/", "Content-Length: 1048000"))
        peer = Peer(server.base_url)
        peer.send(starts[number % 4])
        peer.push(b" " * 65_536, most=4_800_000 if number % 4 < 3 else 950_000)
        peers.append(peer)
    # Three bodies fit into the budget of all, and one into that of an address.
    wait_until(lambda: [peer.looks_ended() for peer in peers].count(False) <= 4)
    grown = worker_of(server).memory_info().rss - before
    answers = [peer.read() for peer in peers if peer.has_ended]
    assert {(answer.status, answer.json()["code"]) for answer in answers} == {
        (503, "service_unavailable"),
        (401, "missing_api_key"),
    }
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status == 503)
    assert grown < 120 * MIB
    for peer in peers:
        peer.close()
    wait_until(lambda: len(worker_of(server).net_connections("tcp")) < 50)
    still_works(server)


def test_one_organization_does_not_take_what_the_others_need(server: Server) -> None:
    greedy, other = make_sender(server.base_url), make_sender(server.base_url)
    peers: list[Peer] = []

    def send_another() -> Peer:
        peer = Peer(server.base_url)
        peers.append(peer)
        peer.send(keyed(greedy, "POST", "/api/v1/events/batch", "Content-Length: 5000000"))
        peer.push(b" " * 65_536, most=4_900_000)
        return peer

    # What the tests before have sent may be in the way for a moment.
    wait_until(lambda: bool(send_another()) and [peer.looks_ended() for peer in peers].count(False) == 2)
    refused = send_another().read()
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    batch = [{"type": "a", "data": "x" * 200_000}] * 24
    assert other.client.post("/api/v1/events/batch", batch).json()["accepted"] == 24
    for peer in peers:
        peer.close()
    wait_until(lambda: greedy.client.post("/api/v1/events/batch", batch).status == 202)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nothing_of_a_request_is_written_to_a_disk(server: Server) -> None:
    """Django would keep more than a part of a body in a temporary file."""
    sender = make_sender(server.base_url)
    before = files_of(server)
    peers = []
    for path in ("/api/v1/events/batch", "/api/v1/event-types"):
        peer = Peer(server.base_url)
        peers.append(peer)
        peer.send(keyed(sender, "POST", path, "Content-Length: 5000000") + b" " * 4_900_000)
    wait_until(lambda: all(_is_taken(peer) for peer in peers))
    assert files_of(server) <= before
    for peer in peers:
        peer.close()


def files_of(server: Server) -> set[str]:
    """Temporary files have no name any more."""
    opened = [os.readlink(each) for each in Path(f"/proc/{worker_of(server).pid}/fd").iterdir()]
    return {path for path in opened if "(deleted)" in path}


def _is_taken(peer: Peer) -> bool:
    """Whether all that was sent is on the server's side."""
    return not struct.unpack("i", fcntl.ioctl(peer.socket, termios.TIOCOUTQ, bytes(4)))[0]


def test_heads_have_a_bound_in_all(server: Server) -> None:
    many = [f"X-{number}: {'a' * 4_000}" for number in range(20)]
    for request in (head("GET", "/health/live", *many), head("GET", "/health/live", *many)[:-2]):
        answer = ask(server.base_url, request)
        assert (answer.status, answer.json()["code"]) == (431, "header_too_large")


def test_chunks_of_single_bytes_have_a_bound(server: Server) -> None:
    sender = make_sender(server.base_url)
    start = keyed(sender, "POST", "/api/v1/events/batch", "Transfer-Encoding: chunked")
    answer = ask(server.base_url, start + b"1\r\n \r\n" * 10_000)
    assert (answer.status, answer.json()["code"]) == (400, "bad_request")
    body = b'[{"type": "a", "data": 1}]'
    few = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert ask(server.base_url, start + few).status == 202


def test_a_content_type_that_takes_long_to_read_is_none(server: Server) -> None:
    long = "Content-Type: application/json" + ";" * 1_000
    for field, code in ((long, "unsupported_media_type"), (long[:100], "validation_failed")):
        key = f"Authorization: Bearer {make_sender(server.base_url).client.key}"
        answer = ask(server.base_url, head("POST", "/api/v1/event-types", key, field, "Content-Length: 2") + b"{}")
        assert answer.json()["code"] == code


# --- Time ------------------------------------------------------------------------------------------------------


def test_a_dripping_head_is_ended(impatient: Server) -> None:
    peer = Peer(impatient.base_url)
    peer.send(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    peer.drip(b"X-A: 1\r\n", every=0.1)
    answer = peer.read()
    assert (answer.status, answer.json()["code"]) == (408, "request_timeout")
    assert answer.headers["request-id"]


def test_a_connection_on_which_nothing_is_asked_is_ended_without_a_word(impatient: Server) -> None:
    peer = Peer(impatient.base_url)
    assert peer.socket.recv(1) == b""


def test_a_connection_on_which_nothing_more_is_asked_is_ended_too(impatient: Server) -> None:
    peer = Peer(impatient.base_url)
    peer.send(head("GET", "/health/live"))
    assert peer.read_to_end().status == 200


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/subscriptions"])
@pytest.mark.parametrize("length", ["Content-Length: 5000", "Transfer-Encoding: chunked"])
def test_a_dripping_body_is_ended(impatient: Server, path: str, length: str) -> None:
    peer = Peer(impatient.base_url)
    peer.send(keyed(make_sender(impatient.base_url), "POST", path, length))
    peer.drip(b"1\r\n \r\n" if "chunked" in length else b" ", every=0.1)
    answer = peer.read()
    assert (answer.status, answer.json()["code"]) == (408, "request_timeout")


def test_a_dripping_form_is_ended(impatient: Server) -> None:
    peer = Peer(impatient.base_url)
    peer.send(head("POST", "/console/sign-in/", "Content-Length: 500"))
    peer.drip(b"a", every=0.1)
    assert peer.read().status == 408


def test_a_body_may_take_longer_when_it_comes_fast_enough(impatient: Server) -> None:
    sender = make_sender(impatient.base_url)
    body = b'[{"type": "a", "data": "%s"}]' % (b"x" * 100_000)
    peer = Peer(impatient.base_url)
    peer.send(keyed(sender, "POST", "/api/v1/events/batch", f"Content-Length: {len(body)}"))
    for start in range(0, len(body), 5_000):
        peer.send(body[start : start + 5_000])
        time.sleep(0.1)  # the point of it: two seconds, over three times the bound
    assert peer.read().status == 202
    assert Event.objects.count() == 1


def test_an_answer_that_nobody_reads_is_given_up(impatient: Server) -> None:
    worker = worker_of(impatient)
    peer = Peer(impatient.base_url, buffer=4_096)
    peer.send(head("GET", "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js") * 8)
    own = peer.socket.getsockname()[1]
    wait_until(lambda: not [each for each in worker.net_connections("tcp") if each.raddr and each.raddr.port == own])


def test_connections_have_a_bound_and_those_that_wait_longest_make_room(server: Server) -> None:
    sender = make_sender(server.base_url)
    silent = [Peer(server.base_url) for _ in range(2 * MOST_CONNECTIONS)]
    assert sender.client.post("/api/v1/events", EVENT).status == 202
    assert len(worker_of(server).net_connections("tcp")) <= MOST_CONNECTIONS + 20
    assert silent[0].socket.recv(1) == b""
    for peer in silent:
        peer.close()


def test_refusals_that_wait_for_their_answer_make_room(server: Server) -> None:
    """Each of them for two seconds, thirty behind each other: they would keep a process for a minute."""
    sender = make_sender(server.base_url)
    refused = [Peer(server.base_url) for _ in range(MOST_CONNECTIONS)]
    for peer in refused:
        peer.send(head("GET", "/api/v1/events") * 30)
    wait_until(lambda: sum(peer.hears() for peer in refused) > bounds.REFUSALS_AT_ONCE // 2)
    asked = keyed(sender, "GET", "/api/v1/organization")
    assert [ask(server.base_url, asked).status for _ in range(20)] == [200] * 20
    for peer in refused:
        peer.close()


def test_half_a_head_behind_a_request_is_given_up_as_any_other(impatient: Server) -> None:
    peer = Peer(impatient.base_url)
    asked = head("GET", "/health/live")
    peer.send(asked + asked[:20])
    wait_until(peer.looks_ended)
    assert b"HTTP/1.1 200 OK" in peer.received
    assert b"HTTP/1.1 408 " in peer.received


# --- One answer for programs -----------------------------------------------------------------------------------


SOCKET = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
          "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")  # fmt: skip


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (head("GET", "/API/v1/events"), 404, "not_found"),
        (head("GET", "//api/v1/events"), 404, "not_found"),
        (head("POST", "//api//v1/events", "Content-Length: 2") + b"{}", 404, "not_found"),
        (head("GET", "/api"), 404, "not_found"),
        (head("GET", "/Api/"), 404, "not_found"),
        (head("GET", "/api//v1/events"), 404, "not_found"),
        (head("GET", "/api/v1"), 404, "not_found"),
        (head("GET", "http://127.0.0.1/api/v1/events"), 401, "missing_api_key"),
        (head("GET", "http://127.0.0.1//API/v1/events"), 404, "not_found"),
        (head("GET", "http://evil.example/api/v1/events"), 401, "missing_api_key"),
        (head("BREW", "/api/v1/events"), 400, "bad_request"),
        (head("GET", "/api/v1/events", *SOCKET), 400, "bad_request"),
        (head("GET", "/", *SOCKET), 400, "bad_request"),
        (b"GET /api/v1/events HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"POST /api/v1/events HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 400, "bad_request"),
        (head("POST", "/api/v1/events", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 501, "not_implemented"),
        (head("POST", "/api/v1/events", "Transfer-Encoding: br, chunked") + b"0\r\n\r\n", 501, "not_implemented"),
        (head("GET", "ftp://127.0.0.1/api/v1/events"), 400, "bad_request"),
        (head("GET", "/api/v1/events?" + "a" * 9_000), 414, "uri_too_long"),
        (head("GET", "/api/v1/events", "X-Long: " + "a" * 9_000), 431, "header_too_large"),
        (head("GET", "/api/v1/events", *["X-A: 1"] * 200), 431, "header_too_large"),
        (head("POST", "/api/v1/events", "Content-Length: " + "9" * 5_000), 400, "bad_request"),
        (head("POST", "/api/v1/events", "Content-Length: -1"), 400, "bad_request"),
        (b"NONSENSE\r\n\r\n", 400, "bad_request"),
        (b"GET /api/v1/events HTTP/3.0\r\n\r\n", 400, "bad_request"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_whatever_is_refused_is_a_problem(server: Server, request_bytes: bytes, status: int, code: str) -> None:
    answer = ask(server.base_url, request_bytes)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (answer.json()["code"], answer.json()["status"]) == (code, status)
    assert answer.json()["request_id"] == answer.headers["request-id"]
    assert answer.headers["server-timing"].startswith("app;dur=")
    assert ask(server.base_url, head("GET", "/health/live")).status == 200


def test_a_target_in_absolute_form_is_served_by_its_own_host(server: Server) -> None:
    sender = make_sender(server.base_url)
    asked = keyed(sender, "GET", "http://127.0.0.1/api/v1/organization?")
    assert ask(server.base_url, asked).json()["plan"] == "business"
    elsewhere = asked.replace(b"Host: 127.0.0.1", b"Host: evil.example")
    assert ask(server.base_url, elsewhere).status == 200
    forged = asked.replace(b"http://127.0.0.1/", b"http://evil.example/")
    assert (ask(server.base_url, forged).status, ask(server.base_url, forged).json()["code"]) == (400, "bad_request")
    body = b'{"type": "a", "data": 1}'
    posted = keyed(sender, "POST", "http://127.0.0.1/api/v1/events", f"Content-Length: {len(body)}") + body
    assert ask(server.base_url, posted).status == 202


def test_upgrades_that_nobody_needs_are_ignored(server: Server) -> None:
    """Java's client offers HTTP/2 with each first request."""
    offered = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")
    assert ask(server.base_url, head("GET", "/health/live", *offered)).status == 200
