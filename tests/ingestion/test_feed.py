"""The feed: each event once, in the order of the commits, also over a break; on a really running server."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection
from django.utils import timezone
from uuid_utils.compat import uuid7

from core.event_ids import lowest_id, time_of
from core.problems import Problem
from ingestion.feed import reading
from ingestion.feed.reading import SETTLED, Place, Row, place_after, place_now, read_behind
from ingestion.models import Event
from organizations.models import ApiKey, Organization
from rest.doors import waiting
from rest.doors.shares import Budget
from tests.conftest import Tenant, make_tenant
from tests.factories import make_organization
from tests.support.http.clients import Sender, make_sender
from tests.support.http.raw_http import Peer
from tests.support.servers import Server, serve, test_database_url
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True)]
STREAM = "/api/v1/events/stream"
IMPATIENT_SECONDS = 20
# Of an answer that is whole.
END = b"\r\n0\r\n\r\n"

_INSERT = """
INSERT INTO ingestion_event (id, organization_id, type, data, received_at, batch_id)
VALUES (%s, %s, %s, '1', statement_timestamp(), %s)
"""


def let_other_databases_end() -> None:
    """A transaction that is running anywhere in the cluster holds up the feed; tests beside this one have theirs."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        (now,) = cursor.fetchone()

    def have_ended() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT FROM pg_stat_activity WHERE datname <> current_database() AND backend_xid::text::bigint < %s",
                [now],
            )
            return cursor.fetchone() is None

    wait_until(have_ended)


@contextmanager
def opened(server: Server, sender: Sender, query: str = "", last: str = "") -> Iterator[Peer]:
    peer = Peer(server.base_url)
    peer.socket.settimeout(IMPATIENT_SECONDS)
    head = f"GET {STREAM}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {sender.client.key}\r\n"
    peer.send((head + (f"Last-Event-ID: {last}\r\n" if last else "") + "\r\n").encode())
    peer.read_until(b"retry: ")
    try:
        yield peer
    finally:
        peer.close()


def events_in(peer: Peer) -> list[dict[str, Any]]:
    """What has come so far."""
    lines = [line for line in peer.received.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def read_events(peer: Peer, count: int) -> list[str]:
    """The ids of the first `count`, in their order."""
    while len(found := events_in(peer)) < count:
        peer.read_more()
    return [event["id"] for event in found]


def send(sender: Sender, count: int = 1, **values: Any) -> list[str]:
    event = {"type": "a", "data": 1, **values}
    return [sender.client.post("/api/v1/events", event).json()["id"] for _ in range(count)]


@contextmanager
def uncommitted(organization: Organization, *, age: timedelta = timedelta(0)) -> Iterator[str]:
    """An event whose transaction ends with the block: it appears late, behind others with higher ids."""
    event_id = UUID(int=lowest_id(timezone.now() - age).int + (uuid7().int & (2**62 - 1)))
    with psycopg.connect(test_database_url()) as connection:
        connection.execute(_INSERT, [event_id, organization.pk, "late", uuid7()])
        yield str(event_id)


def test_a_stream_brings_each_event_once_also_over_a_break() -> None:
    with serve(workers=1) as server:
        sender = make_sender(server.base_url)
        send(sender)
        let_other_databases_end()
        with opened(server, sender) as peer, opened(server, sender, "?type=b.*&subject=s") as chosen:
            with uncommitted(sender.organization) as late:
                first = send(sender, 3)
            order = read_events(peer, 4)
            assert sorted(order) == sorted([late, *first])
            wanted = send(sender, type="b.c", subject="s")
            send(sender, type="b.c")
            assert read_events(chosen, 1) == wanted
            assert read_events(peer, 6)[4] == wanted[0]
            shown = events_in(peer)[1]
            listed = sender.client.get(f"/api/v1/events?type={shown['type']}").json()["data"]
            assert shown.keys() == listed[0].keys()
        rest = send(sender, 2)
        with opened(server, sender, last=order[1]) as again:
            assert read_events(again, 6)[:2] == order[2:]
            assert read_events(again, 6)[-2:] == rest


def revoke(sender: Sender) -> None:
    ApiKey.objects.filter(pk=sender.api_key.pk).update(revoked_at=timezone.now())


def suspend(sender: Sender) -> None:
    Organization.objects.filter(pk=sender.organization.pk).update(suspended_at=timezone.now())


def test_a_stream_ends_with_its_right_and_with_its_server() -> None:
    with serve(workers=1) as server:
        for refuse in (revoke, suspend):
            sender = make_sender(server.base_url)
            with opened(server, sender) as peer:
                refuse(sender)
                peer.read_until(END)
        with opened(server, make_sender(server.base_url)) as peer:
            server.process.send_signal(signal.SIGTERM)
            peer.read_until(END)
        assert server.process.wait(IMPATIENT_SECONDS) == 0


# --- Reading -----------------------------------------------------------------------------------------------------


def make_event(organization: Organization, *, age: timedelta = timedelta(0)) -> UUID:
    with uncommitted(organization, age=age) as event_id:
        pass
    return UUID(event_id)


def read_all(organization: Organization, place: Place) -> tuple[list[UUID], Place]:
    let_other_databases_end()
    found: list[UUID] = []
    while True:
        read = read_behind(organization.pk, place)
        found += [row.id for row in read.rows]
        place = read.place
        if read.is_last:
            return found, place


def test_what_commits_late_holds_up_what_came_after_it() -> None:
    organization = make_organization()
    place = place_now(timezone.now())
    before = make_event(organization)
    with uncommitted(organization, age=timedelta(seconds=5)) as late:
        after = make_event(organization)
        found, place = read_all(organization, place)
        assert found == [before]
    assert read_all(organization, place)[0] == [UUID(late), after]


def test_a_reader_goes_on_after_any_event_in_the_order_of_commits() -> None:
    organization = make_organization()
    place = place_now(timezone.now())
    with uncommitted(organization, age=timedelta(seconds=3)):
        make_event(organization)
    make_event(organization, age=timedelta(seconds=2))
    make_event(make_organization())
    make_event(organization)
    order = read_all(organization, place)[0]
    assert len(order) == 4
    for number, event_id in enumerate(order):
        assert read_all(organization, place_after(organization.pk, event_id, timezone.now()))[0] == order[number + 1 :]


def test_a_reader_that_is_far_behind_reads_everything_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_ROWS_A_STEP", 2)
    organization = make_organization()
    ages = (3_000, 2_000, 1_999, 1_998, 1_997, 500, 30, 29, 3, 2, 1, 0)
    made = [make_event(organization, age=timedelta(seconds=age)) for age in ages]
    now = timezone.now()
    assert read_all(organization, place_after(organization.pk, made[0], now))[0] == made[1:]
    assert read_all(organization, place_after(organization.pk, made[4], now))[0] == made[5:]


def test_a_reader_begins_an_hour_back_at_most_and_after_what_is_gone() -> None:
    organization = make_organization()
    for age in (7_200, 4_000, 1_800, 60):
        make_event(organization, age=timedelta(seconds=age))
    now = timezone.now()
    ids = list(Event.objects.order_by("pk").values_list("pk", flat=True))
    assert read_all(organization, place_after(organization.pk, ids[0], now))[0] == ids[2:]
    gone = lowest_id(now - timedelta(minutes=10))
    assert read_all(organization, place_after(organization.pk, gone, now))[0] == ids[3:]
    assert read_all(organization, place_after(organization.pk, UUID(int=2**128 - 1), now))[0] == []


def test_a_place_keeps_in_sight_whatever_may_come_after_it() -> None:
    event_id = lowest_id(timezone.now())
    place = Place(number=1, event_id=event_id, since=UUID(int=0)).after(Row(2, event_id, "a", None, None))
    assert time_of(place.since) <= time_of(event_id) - SETTLED + timedelta(milliseconds=1)


# --- Asking ------------------------------------------------------------------------------------------------------


def test_without_a_server_that_can_hold_it_a_stream_is_one_look_long() -> None:
    tenant = make_tenant()
    first = make_event(tenant.organization)
    second = make_event(tenant.organization)
    let_other_databases_end()
    answer = tenant.get(STREAM, **{"Last-Event-ID": str(first)})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
    text = b"".join(answer.streaming_content).decode()
    assert [line for line in text.splitlines() if line.startswith("id: ")] == [f"id: {second}"]
    assert "\nevent: event\n" in text


@pytest.mark.parametrize(
    ("query", "last", "pointer"), [("?x=1", "", "/x"), ("", "abc", "/Last-Event-ID"), ("?source=", "", "/source")]
)
def test_a_wrong_question_is_refused(tenant: Tenant, query: str, last: str, pointer: str) -> None:
    answer = tenant.get(f"{STREAM}{query}", **({"Last-Event-ID": last} if last else {}))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_streams_of_an_organization_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "event_streams", Budget(total=9, share=1))
    first = waiting.hold(waiting.event_streams, "one")
    with pytest.raises(Problem) as refused:
        waiting.hold(waiting.event_streams, "one")
    assert refused.value.problem_type.code == "too_many_streams"
    first.give_back()
    waiting.hold(waiting.event_streams, "one")
