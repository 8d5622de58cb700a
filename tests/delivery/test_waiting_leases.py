"""Leases that wait for the first event, on a really running server: who gets it, what ends the wait, what it costs."""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, connections
from django.test import AsyncClient
from django.utils import timezone
from uuid_utils.compat import uuid7

from delivery.api.inbox import consumers
from delivery.api.inbox.consumers import Consumers
from delivery.models import Delivery, Subscription, SubscriptionStatus
from delivery.operations import find_inbox
from ingestion.operations import process_outbox
from organizations.models import ApiKey, Organization
from rest.doors import waiting
from rest.doors.shares import Budget
from tests.conftest import Tenant
from tests.factories import make_key, make_organization
from tests.support.http.clients import Sender, make_sender
from tests.support.http.raw_http import Peer
from tests.support.servers import Server, serve
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True)]
LEASE = "/api/v1/inbox/lease"
NOTHING: dict[str, Any] = {"lease_id": None, "expires_at": None, "events": []}
# Less than the wait, so that an answer which comes is one that was not merely waited for.
IMPATIENT_SECONDS = 18
LONG = {"wait_seconds": 20, "max": 1}


@contextmanager
def waiting_consumers(server: Server, sender: Sender, count: int, **body: Any) -> Iterator[list[Peer]]:
    """Their answers have begun, and wait."""
    peers = [Peer(server.base_url) for _ in range(count)]
    for peer in peers:
        peer.socket.settimeout(IMPATIENT_SECONDS)
        content = json.dumps({**LONG, **body}).encode()
        head = f"POST {LEASE} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {sender.client.key}\r\n"
        peer.send(f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
    for peer in peers:
        peer.read_until(b"\r\n\r\n")
    try:
        yield peers
    finally:
        for peer in peers:
            peer.close()


def answer_of(peer: Peer) -> Any:
    """The whole answer; one that is cut off fails."""
    peer.read_until(b"0\r\n\r\n")
    chunks = peer.received.partition(b"\r\n\r\n")[2].split(b"\r\n")
    return json.loads(b"".join(chunks[1::2]))


def send(sender: Sender, count: int = 1) -> list[str]:
    ids = [sender.client.post("/api/v1/events", {"type": "a", "data": 1}).json()["id"] for _ in range(count)]
    process_outbox()
    return ids


def inbox_of(sender: Sender) -> Subscription:
    found = find_inbox(organization_id=sender.organization.pk, name="default")
    assert found
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(workers=1, DATABASE_POOL_SIZE="4") as server:
        yield server


def test_each_event_goes_to_one_of_those_who_wait(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = make_sender(server.base_url)
    with waiting_consumers(server, sender, 1) as (gone,), waiting_consumers(server, sender, 3) as peers:
        gone.close()
        ids = send(sender, 3)
        assert sorted(answer_of(peer)["events"][0]["id"] for peer in peers) == sorted(ids)
    with waiting_consumers(server, sender, 1) as (peer,):
        sender.client.post("/api/v1/inbox/nack", {"event_ids": ids[:1]})
        assert [event["id"] for event in answer_of(peer)["events"]] == ids[:1]
    monkeypatch.setattr("delivery.wakeup._consumer_waker.wake", lambda: None)
    with waiting_consumers(server, sender, 2) as peers:
        ids = send(sender, 2)
        assert sorted(answer_of(peer)["events"][0]["id"] for peer in peers) == sorted(ids)


def revoke(sender: Sender) -> None:
    ApiKey.objects.filter(pk=sender.api_key.pk).update(revoked_at=timezone.now())


def suspend(sender: Sender) -> None:
    Organization.objects.filter(pk=sender.organization.pk).update(suspended_at=timezone.now())


def expire(sender: Sender) -> None:
    ApiKey.objects.filter(pk=sender.api_key.pk).update(expires_at=timezone.now())


def test_a_wait_ends_with_its_time_and_with_the_right_to_wait(server: Server) -> None:
    for refuse in (revoke, suspend, expire):
        sender = make_sender(server.base_url)
        with waiting_consumers(server, sender, 1) as (peer,):
            refuse(sender)
            assert answer_of(peer) == NOTHING
    sender = make_sender(server.base_url)
    with waiting_consumers(server, sender, 1, wait_seconds=3) as (peer,):
        Subscription.objects.filter(pk=inbox_of(sender).pk).update(status=SubscriptionStatus.PAUSED)
        send(sender)
        assert answer_of(peer) == NOTHING


def test_those_who_wait_hold_no_connection_to_the_database_and_no_thread(server: Server) -> None:
    """More of them than the server has threads or connections; it goes on answering others, and ends in peace."""
    sender = make_sender(server.base_url)
    with waiting_consumers(server, sender, 60) as peers:
        ids = send(sender, 20)
        wait_until(lambda: Delivery.objects.filter(lease_id__isnull=False).count() == len(ids))
        server.process.send_signal(signal.SIGTERM)
        answers = [answer_of(peer) for peer in peers]
    assert sorted(event["id"] for answer in answers for event in answer["events"]) == sorted(ids)
    assert answers.count(NOTHING) == 40
    assert server.process.wait(IMPATIENT_SECONDS) == 0


def test_a_thousand_who_wait_cost_the_database_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each at an inbox of its own; beside the looks, of which there is one a second, nothing is asked for them."""
    statements: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    def in_this_thread(function: Any, _owner: Any) -> Any:
        async def call(*args: Any) -> tuple[Any, float]:
            return await sync_to_async(function)(*args), 0.0

        return call

    async def look(count: int) -> int:
        line = Consumers()
        with ExitStack() as standing:
            waiters = [standing.enter_context(line.stand_in_line(uuid7(), uuid7(), since=0)) for _ in range(count)]
            await line._look_once()
        assert not any(waiter.may_stay for waiter in waiters)
        asked = len(statements)
        statements.clear()
        return asked

    monkeypatch.setattr(consumers, "for_streams", in_this_thread)
    monkeypatch.setattr(Consumers, "_begin", lambda _: None)
    with connection.execute_wrapper(note):
        assert async_to_sync(look)(1) == async_to_sync(look)(1_000) == 2


@pytest.mark.parametrize(
    ("budget", "status", "code"),
    [
        (Budget(total=1, share=0), 429, "too_many_streams"),
        (Budget(total=0, share=1), 503, "service_unavailable"),
    ],
)
def test_who_waits_once_too_often_is_refused(
    monkeypatch: pytest.MonkeyPatch, budget: Budget, status: int, code: str
) -> None:
    monkeypatch.setattr(waiting, "leases", budget)
    plaintext = make_key(make_organization())[1]

    async def ask() -> Any:
        headers = {"Authorization": f"Bearer {plaintext}"}
        answer = await AsyncClient().post(LEASE, LONG, content_type="application/json", headers=headers)
        # This thread is of the client, which keeps it.
        await sync_to_async(connections.close_all)()
        return answer

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Retry-After"]


def test_no_body_means_the_defaults(tenant: Tenant) -> None:
    answer = tenant.post(LEASE)
    assert (answer.status_code, answer.json()) == (200, NOTHING)


@pytest.mark.parametrize("seconds", [-1, 20.5, "1", None])
def test_another_wait_is_refused(tenant: Tenant, seconds: Any) -> None:
    answer = tenant.post(LEASE, {"wait_seconds": seconds})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/wait_seconds")
