"""Servers that are killed, stopped and restarted under load, and a PostgreSQL that goes away."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from ingestion.models import Event
from installation.local.data_dir import CHECKOUT
from tests.factories import make_organization
from tests.support.http.clients import Client, Sender, make_sender
from tests.support.http.proxies import postgres_proxy
from tests.support.servers import Server, serve, test_database_url
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.faults]

PROCESSES = 8
KEYS = [f"key-{number}" for number in range(1_000)]
# A hung sender ends then; how long the sending takes is the machine's affair.
DEADLINE = 600
Acknowledged = list[tuple[int | None, str | None, str | None]]


class Senders:
    """Processes that send at once; `answers` waits for them."""

    def __init__(self, base_url: str, key: str | None, *, count: int, keys: Sequence[str], seconds: float, again: bool):
        job = {"base_url": base_url, "key": key, "keys": list(keys), "seconds": seconds, "again": again}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.http.sending"],
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        for process in self.processes:
            assert process.stdin
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.close()

    def answers(self) -> Acknowledged:
        lines: list[str] = []
        for process in self.processes:
            assert process.stdout
            lines += process.stdout.read().splitlines()
            assert process.wait(30) == 0
        return [tuple(json.loads(line)) for line in lines]


def big_sender(server: Server) -> Sender:
    return make_sender(server.base_url, organization=make_organization(plan="enterprise"))


@pytest.mark.parametrize("count", [200, pytest.param(1_000, marks=pytest.mark.long)])
def test_eight_processes_that_send_the_same_keys_make_one_event_of_each(count: int) -> None:
    keys = KEYS[:count]
    with serve("asgi") as server:
        sender = big_sender(server)
        senders = Senders(server.base_url, sender.client.key, count=PROCESSES, keys=keys, seconds=DEADLINE, again=True)
        answers = senders.answers()
    statuses = [status for status, _, _ in answers]
    assert len(answers) == PROCESSES * count
    assert (statuses.count(202), statuses.count(200)) == (count, (PROCESSES - 1) * count)
    assert Event.objects.count() == count
    assert len({(key, event_id) for _, event_id, key in answers}) == count


@pytest.mark.long
def test_a_restart_in_the_middle_changes_nothing_about_that() -> None:
    with serve("asgi") as server:
        sender = big_sender(server)
        senders = Senders(server.base_url, sender.client.key, count=PROCESSES, keys=KEYS, seconds=DEADLINE, again=True)
        wait_until(lambda: Event.objects.count() > 100)
        server.process.send_signal(signal.SIGHUP)  # gunicorn replaces its workers
        wait_until(lambda: Event.objects.count() > 400)
        for worker in workers_of(server):
            os.kill(worker, signal.SIGKILL)
        answers = senders.answers()
    answered = [(status, event_id, key) for status, event_id, key in answers if status is not None]
    assert {status for status, _, _ in answered} <= {200, 202}
    assert Event.objects.count() == len(KEYS)
    assert {(key, event_id) for _, event_id, key in answered} == {
        (event.idempotency_key, str(event.pk)) for event in Event.objects.all()
    }


def test_what_a_killed_server_acknowledged_is_there() -> None:
    with serve("asgi") as server:
        sender = big_sender(server)
        senders = Senders(server.base_url, sender.client.key, count=4, keys=[], seconds=60, again=False)
        wait_until(lambda: Event.objects.count() > 300)
        os.killpg(server.process.pid, signal.SIGKILL)
        answers = senders.answers()
    acknowledged = {event_id for status, event_id, _ in answers if status == 202}
    stored = {str(pk) for pk in Event.objects.values_list("pk", flat=True)}
    assert len(acknowledged) >= 300 - len(senders.processes)
    assert acknowledged <= stored
    assert len(stored - acknowledged) <= len(senders.processes)  # those in flight


def test_a_stopped_server_answers_what_is_in_flight() -> None:
    """The writer is held up by a lock, so that requests are in flight for certain when the signal comes."""
    with serve("asgi", workers=1) as server, ThreadPoolExecutor(20) as threads:
        sender = big_sender(server)
        assert sender.client.post("/api/v1/events", {"type": "t", "data": 0}).status == 202
        with locked_events():
            clients = [Client(server.base_url, sender.client.key) for _ in range(20)]
            replies = [threads.submit(client.post, "/api/v1/events", {"type": "t", "data": 1}) for client in clients]
            wait_until(lambda: requests_waiting(server) >= len(clients))
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not accepts(server))
        assert [reply.result(30).status for reply in replies] == [202] * 20
        assert server.process.wait(30) == 0
    assert Event.objects.count() == 21


def test_while_postgresql_is_away_requests_are_refused_at_once_and_then_go_on() -> None:
    with postgres_proxy() as proxy, serve("asgi", workers=1, DATABASE_URL=proxy.url) as server:
        sender = big_sender(server)
        post: Callable[[], Any] = lambda: sender.client.post("/api/v1/events", {"type": "t", "data": 1})  # noqa: E731
        assert post().status == 202
        proxy.cut()
        refused = [post() for _ in range(5)]
        assert {reply.status for reply in refused} == {503}
        assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
        assert {reply.json()["code"] for reply in refused} == {"service_unavailable"}
        before = Event.objects.count()
        assert before == 1
        proxy.restore()
        wait_until(lambda: post().status == 202)
    assert Event.objects.count() == 2


def test_a_postgresql_that_hangs_is_a_503_too() -> None:
    with postgres_proxy() as proxy, serve("asgi", workers=1, DATABASE_URL=proxy.url) as server:
        sender = big_sender(server)
        assert sender.client.post("/api/v1/events", {"type": "t", "data": 1}).status == 202
        proxy.hang()
        assert sender.client.post("/api/v1/events", {"type": "t", "data": 1}).status == 503
        proxy.restore()
        wait_until(lambda: sender.client.post("/api/v1/events", {"type": "t", "data": 1}).status == 202)


@contextmanager
def locked_events() -> Iterator[None]:
    """Nobody can insert events until this ends."""
    with psycopg.connect(test_database_url()) as locking:
        locking.execute("LOCK TABLE ingestion_event IN SHARE MODE")
        yield


def workers_of(server: Server) -> list[int]:
    return [child.pid for child in psutil.Process(server.process.pid).children()]


def requests_waiting(server: Server) -> int:
    """Connections to the server; each of the clients has one request in flight on its own."""
    port = urlsplit(server.base_url).port
    found = [c for pid in workers_of(server) for c in psutil.Process(pid).net_connections("tcp")]
    return sum(c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port for c in found) - 1


def accepts(server: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", urlsplit(server.base_url).port or 0), timeout=1).close()
    except OSError:
        return False
    return True
