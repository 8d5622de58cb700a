"""An inbox that nobody has read gets no deliveries; its first reader finds every event that is kept, in order."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import Event as Signal
from typing import Any
from unittest import mock

import pytest
from django.db import connection
from django.utils import timezone

from delivery.models import Delivery, Subscription
from delivery.operations import ReplayRequest, create_replay, default_inboxes, find_inbox, lease_events
from delivery.operations import sleeping_inboxes as sleeping
from ingestion.models import Event
from ingestion.operations import process_outbox
from ingestion.operations.process import event_handlers
from organizations.audit import Actor
from tests.conftest import Tenant, make_tenant
from tests.factories import inbox_of
from tests.support.waiting import wait_until


def send(tenant: Tenant, count: int) -> list[str]:
    """The ids of events that are processed, the oldest first."""
    ids = [tenant.post("/api/v1/events", {"type": "a", "data": number}).json()["id"] for number in range(count)]
    process_outbox()
    return ids


def listed(tenant: Tenant, limit: int = 2) -> list[str]:
    """All ids of the list of pending events, page by page."""
    found: list[str] = []
    cursor = ""
    while True:
        page = tenant.get(f"/api/v1/inbox?limit={limit}{cursor}").json()
        found += [event["id"] for event in page["data"]]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def leased(tenant: Tenant, count: int) -> list[str]:
    answer = tenant.post("/api/v1/inbox/lease", {"max": count, "lease_seconds": 60}).json()
    return [event["id"] for event in answer["events"]]


def acknowledge(tenant: Tenant, ids: list[str]) -> dict[str, list[str]]:
    answer: dict[str, list[str]] = tenant.post("/api/v1/inbox/ack", {"event_ids": ids}).json()
    return answer


def the_inbox(tenant: Tenant) -> Subscription:
    return Subscription.objects.for_organization(tenant.organization.pk).get(name="default")


def test_an_inbox_that_nobody_reads_costs_nothing(tenant: Tenant) -> None:
    send(tenant, 3)
    assert the_inbox(tenant).sleeps
    assert tenant.get("/api/v1/subscriptions").status_code == 200
    send(tenant, 3)
    assert the_inbox(tenant).sleeps
    assert not Delivery.objects.exists()


def test_its_first_list_has_every_event_the_newest_first(tenant: Tenant) -> None:
    ids = send(tenant, 7)
    assert listed(tenant) == ids[::-1]
    later = send(tenant, 2)
    assert listed(tenant) == [*later[::-1], *ids[::-1]]
    assert Delivery.objects.count() == 9


def test_its_leases_go_from_the_oldest_to_what_came_since(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleeping, "FILLED_AT_ONCE", 2)
    ids = send(tenant, 5)
    assert leased(tenant, 1) == ids[:1]
    assert listed(tenant, limit=1)[:1] == ids[-1:], "a list of the newest does not change the order of leases"
    later = send(tenant, 2)
    taken = [leased(tenant, 2) for _ in range(4)]
    assert [*taken[0], *taken[1], *taken[2], *taken[3]] == [*ids[1:], *later]
    inbox = the_inbox(tenant)
    assert (inbox.sleeps, inbox.unfilled_from, inbox.unfilled_to) == (False, None, None)


def test_events_are_acknowledged_that_were_never_leased_or_listed(tenant: Tenant) -> None:
    ids = send(tenant, 4)
    assert acknowledge(tenant, [ids[1]])["acknowledged"] == [ids[1]]
    assert acknowledge(tenant, [ids[1]])["already_acknowledged"] == [ids[1]]
    others = send(make_tenant(), 1)
    assert acknowledge(tenant, others)["unknown"] == others
    assert listed(tenant) == [ids[3], ids[2], ids[0]]
    assert leased(tenant, 10) == [ids[0], ids[2], ids[3]]


def test_acknowledged_events_hide_no_older_ones(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleeping, "FILLED_AT_ONCE", 2)
    ids = send(tenant, 9)
    acknowledge(tenant, ids[4:])
    assert listed(tenant) == ids[3::-1]
    acknowledge(tenant, ids[:3])
    assert leased(tenant, 1) == ids[3:4]
    assert leased(tenant, 1) == []


def test_an_event_that_waits_to_be_processed_while_the_inbox_wakes_comes_once(tenant: Tenant) -> None:
    ids = send(tenant, 1)
    waiting = tenant.post("/api/v1/events", {"type": "a", "data": 1}).json()["id"]
    assert listed(tenant) == ids
    process_outbox()
    assert leased(tenant, 10) == [*ids, waiting]
    assert leased(tenant, 10) == []


def test_what_retention_has_taken_is_not_there(tenant: Tenant) -> None:
    ids = send(tenant, 4)
    Event.objects.filter(pk__in=ids[:2]).delete()
    assert leased(tenant, 1) == ids[2:3]
    assert listed(tenant) == [ids[3], ids[2]]


def test_one_without_events_wakes_too(tenant: Tenant) -> None:
    assert listed(tenant) == []
    ids = send(tenant, 1)
    assert Delivery.objects.count() == 1
    assert leased(tenant, 1) == ids


def test_one_that_was_there_before_goes_on_as_it_was(tenant: Tenant) -> None:
    inbox_of(tenant.organization)
    send(tenant, 2)
    assert Delivery.objects.count() == 2


def test_a_replay_to_it_wakes_it(tenant: Tenant) -> None:
    send(tenant, 1)
    now = timezone.now()
    window = ReplayRequest(received_after=now - timedelta(hours=1), received_before=now)
    inbox, actor = the_inbox(tenant), Actor.system("test")
    create_replay(subscription=inbox, criteria=window, actor=actor, now=now, dry_run=True)
    assert the_inbox(tenant).sleeps
    create_replay(subscription=inbox, criteria=window, actor=actor, now=now)
    assert not the_inbox(tenant).sleeps


def test_its_deliveries_are_listed_by_the_subscription_too(tenant: Tenant) -> None:
    ids = send(tenant, 3)
    page = tenant.get(f"/api/v1/subscriptions/{the_inbox(tenant).pk}/deliveries?limit=2").json()
    assert [delivery["event_id"] for delivery in page["data"]] == ids[:0:-1]
    assert page["next_cursor"] is not None


@contextmanager
def paused_batch(fanned_out: Signal, goes_on: Signal) -> Iterator[None]:
    """Batches stop after they have made their deliveries, before they are committed."""

    def stop(_: Any) -> None:
        fanned_out.set()
        assert goes_on.wait(60)

    with mock.patch.object(event_handlers, "functions", [*event_handlers.functions, stop]):
        yield


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_is_committed_while_the_inbox_wakes_is_not_missing() -> None:
    tenant = make_tenant()
    default_inboxes([tenant.organization.pk])
    event_id = tenant.post("/api/v1/events", {"type": "a", "data": 1}).json()["id"]
    fanned_out, goes_on = Signal(), Signal()

    def in_thread(function: Any) -> Any:
        try:
            return function()
        finally:
            connection.close()

    def read() -> list[str]:
        inbox = find_inbox(organization_id=tenant.organization.pk, name="default")
        assert inbox is not None
        lease = lease_events(inbox=inbox, limit=10, duration=timedelta(minutes=1), now=timezone.now())
        return [str(delivery.event_id) for delivery in lease.deliveries] if lease else []

    with ThreadPoolExecutor(2) as pool, paused_batch(fanned_out, goes_on):
        processing = pool.submit(in_thread, process_outbox)
        try:
            assert fanned_out.wait(60)
            reading = pool.submit(in_thread, read)
            wait_until(waits_for_a_lock)
        finally:
            goes_on.set()
        assert processing.result(60) == 1
        assert reading.result(60) == [event_id]
    assert Delivery.objects.count() == 1
