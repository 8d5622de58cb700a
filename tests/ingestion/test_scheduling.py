"""Events for later: stored and listed at once, handed on at their time by PostgreSQL's clock, cancelled until then."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections
from django.db.models import F
from django.utils import timezone

from core.times import format_time
from delivery.models import Delivery
from delivery.operations import run_replays
from events_platform.settings import CELERY_BEAT_SCHEDULE
from ingestion.models import Event, OutboxEntry, Schedule
from ingestion.operations import hand_on_due, process_outbox, scheduling
from ingestion.operations.process import StoredEvent, event_handlers
from ingestion.tasks import hand_on_due as task
from organizations.models import AuditEntry
from tests.conftest import Tenant, make_tenant
from tests.factories import make_webhook
from tests.support.events.walking import walk
from tests.support.people.console_data import browser_of, make_member

EVENTS = "/api/v1/events"
LATER = {"type": "cart.reminder", "data": {"cart": 7}, "delay_seconds": 3600}
CLOUDEVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "cart.reminder", "data": 1}

pytestmark = pytest.mark.django_db


def send(tenant: Tenant, **values: Any) -> dict[str, Any]:
    reply = tenant.post(EVENTS, {**LATER, **values})
    assert reply.status_code in {200, 202}, reply.content
    body: dict[str, Any] = reply.json()
    return body


def status_of(tenant: Tenant, event_id: str) -> str:
    status: str = tenant.get(f"{EVENTS}/{event_id}").json()["status"]
    return status


def cancel(tenant: Tenant, event_id: str) -> Any:
    return tenant.post(f"{EVENTS}/{event_id}/cancel")


def let_come(**times: Any) -> None:
    """The time of everything that is scheduled."""
    Schedule.objects.update(deliver_at=timezone.now() - timedelta(**times or {"seconds": 1}))


def in_future(**times: float) -> str:
    return format_time(timezone.now() + timedelta(**times))


def test_it_waits_and_is_then_an_event_like_any_other(tenant: Tenant) -> None:
    sent = send(tenant)
    assert (sent["status"], sent["duplicate"]) == ("scheduled", False)
    ahead = datetime.fromisoformat(sent["deliver_at"]) - datetime.fromisoformat(sent["received_at"])
    assert timedelta(minutes=59) < ahead < timedelta(minutes=61)
    shown = tenant.get(f"{EVENTS}/{sent['id']}").json()
    assert (shown["status"], shown["deliver_at"], shown["deliveries"]) == ("scheduled", sent["deliver_at"], [])
    (listed,) = tenant.get(EVENTS).json()["data"]
    assert (listed["status"], listed["deliver_at"]) == ("scheduled", sent["deliver_at"])
    assert hand_on_due() == process_outbox() == 0
    let_come()
    assert hand_on_due() == 1
    assert status_of(tenant, sent["id"]) == "accepted"
    assert process_outbox() == 1
    shown = tenant.get(f"{EVENTS}/{sent['id']}").json()
    assert shown["status"] == "processed"
    assert hand_on_due() == process_outbox() == 0
    assert tenant.post("/api/v1/inbox/lease", {"max": 1}).json()["events"][0]["id"] == sent["id"]


def test_beat_looks_every_second(tenant: Tenant) -> None:
    assert (CELERY_BEAT_SCHEDULE["hand-on-due"]["task"], CELERY_BEAT_SCHEDULE["hand-on-due"]["schedule"]) == (
        task.name,
        1.0,
    )
    send(tenant)
    let_come()
    task()
    assert OutboxEntry.objects.count() == 1


def test_events_of_one_request_each_have_their_time(tenant: Tenant) -> None:
    """In one statement: what waits does not show as accepted while its neighbours wait to be processed."""
    events = [
        {**LATER, "delay_seconds": None},
        LATER,
        {**LATER, "delay_seconds": None, "deliver_at": in_future(days=1)},
    ]
    answer = tenant.post(f"{EVENTS}/batch", events).json()
    assert (answer["accepted"], [item["status"] for item in answer["results"]]) == (
        3,
        ["accepted", "scheduled", "scheduled"],
    )
    ids = [item["id"] for item in answer["results"]]
    assert [status_of(tenant, event_id) for event_id in ids] == ["accepted", "scheduled", "scheduled"]
    process_outbox()
    Schedule.objects.filter(pk=ids[1]).update(deliver_at=timezone.now())
    hand_on_due()
    assert [status_of(tenant, event_id) for event_id in ids] == ["processed", "accepted", "scheduled"]
    lines = "\n".join(json.dumps(event) for event in events).encode()
    reply = tenant.client.post(f"{EVENTS}/batch", lines, content_type="application/x-ndjson",
                               headers={"Authorization": f"Bearer {tenant.plaintext}"})  # fmt: skip
    assert [item["status"] for item in reply.json()["results"]] == ["accepted", "scheduled", "scheduled"]


@pytest.mark.parametrize(
    "when", [{"deliver_at": "2020-01-01T00:00:00Z"}, {"delay_seconds": 0}, {"deliver_at": None, "delay_seconds": None}]
)
def test_a_time_that_is_past_is_now(tenant: Tenant, when: dict[str, Any]) -> None:
    sent = tenant.post(EVENTS, {"type": "a", "data": 1, **when}).json()
    assert sent["status"] == "accepted"
    assert "deliver_at" not in sent
    assert process_outbox() == 1
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    ("when", "pointer", "code"),
    [
        ({"deliver_at": "2999-01-01T00:00:00Z"}, "/deliver_at", "too_far"),
        ({"delay_seconds": 30 * 86_400 + 1}, "/delay_seconds", "too_far"),
        ({"delay_seconds": 1e300}, "/delay_seconds", "too_far"),
        ({"deliver_at": "2026-01-01T00:00:00Z", "delay_seconds": 5}, "/deliver_at", "contradiction"),
        ({"deliver_at": "2026-01-01T00:00:00"}, "/deliver_at", None),
        ({"deliver_at": 5}, "/deliver_at", None),
        ({"deliver_at": "0001-01-01T00:00:00+14:00"}, "/deliver_at", "invalid"),
        ({"delay_seconds": -1}, "/delay_seconds", None),
        ({"delay_seconds": "5"}, "/delay_seconds", None),
    ],
)
def test_what_makes_no_sense_is_named(tenant: Tenant, when: dict[str, Any], pointer: str, code: str | None) -> None:
    event = {"type": "a", "data": 1, **when}
    reply = tenant.post(EVENTS, event)
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, pointer)
    assert code in {None, reply.json()["errors"][0]["code"]}
    (item,) = tenant.post(f"{EVENTS}/batch", [event]).json()["results"]
    assert (item["status"], item["error"]["errors"][0]["pointer"]) == ("rejected", pointer)
    assert not Event.objects.exists()


def test_the_limit_is_a_setting(tenant: Tenant, settings: Any) -> None:
    send(tenant, delay_seconds=30 * 86_400)
    settings.SCHEDULE_MAX_DAYS = 1
    assert tenant.post(EVENTS, {**LATER, "delay_seconds": 86_401}).status_code == 422
    send(tenant, delay_seconds=86_400)


@pytest.mark.parametrize("in_headers", [False, True])
def test_cloudevents_say_it_by_an_extension(tenant: Tenant, in_headers: bool) -> None:
    def sent(number: int, **extensions: Any) -> Any:
        attributes = {**CLOUDEVENT, "id": str(number), **extensions}
        if not in_headers:
            return tenant.client.post(EVENTS, json.dumps(attributes), content_type="application/cloudevents+json",
                                      headers={"Authorization": f"Bearer {tenant.plaintext}"})  # fmt: skip
        headers = {f"ce-{name}": str(value) for name, value in attributes.items() if name != "data"}
        return tenant.post(EVENTS, 1, **headers)

    taken: list[dict[str, Any]] = [{"delayseconds": 60}, {"deliverat": in_future(hours=1)}]
    for number, extensions in enumerate(taken):
        assert sent(number, **extensions).json()["status"] == "scheduled"
        again = sent(number, **extensions)
        assert (again.status_code, again.json()["status"]) == (200, "scheduled")
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"deliverat": "soon"}, "/deliverat"),
        ({"deliverat": "2999-01-01T00:00:00Z"}, "/deliverat"),
        ({"delayseconds": -1}, "/delayseconds"),
        ({"delayseconds": 9_999_999}, "/delayseconds"),
        ({"delayseconds": 1, "deliverat": in_future(hours=1)}, "/deliverat"),
    )
    for extensions, pointer in refused:
        reply = sent(9, **extensions)
        assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, pointer)


def test_a_repeat_is_a_duplicate_whatever_the_time_comes_to(tenant: Tenant) -> None:
    at = in_future(hours=2)
    for key, when in (("k", {"delay_seconds": 3600}), ("l", {"delay_seconds": None, "deliver_at": at})):
        first = send(tenant, **when, idempotency_key=key)
        assert send(tenant, **when, idempotency_key=key) == {**first, "duplicate": True}
        # Other white space, and in another order: the fingerprint differs, the content does not.
        spaced = json.dumps({**LATER, **when, "idempotency_key": key}, indent=1).encode()
        assert tenant.post(EVENTS, spaced).json() == {**first, "duplicate": True}
        other = tenant.post(EVENTS, {**LATER, "delay_seconds": 60, "idempotency_key": key})
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
        assert tenant.post(EVENTS, {**LATER, "delay_seconds": None, "idempotency_key": key}).status_code == 409
    # As it is by now: still waiting, cancelled, or handed on.
    assert cancel(tenant, send(tenant, idempotency_key="k")["id"]).status_code == 200
    assert send(tenant, idempotency_key="k")["status"] == "cancelled"
    let_come()
    hand_on_due()
    again = send(tenant, delay_seconds=None, deliver_at=at, idempotency_key="l")
    assert (again["status"], "deliver_at" in again) == ("accepted", False)
    assert Event.objects.count() == 2


def test_it_can_be_cancelled_until_it_is_handed_on(tenant: Tenant, other_tenant: Tenant) -> None:
    kept, dropped = send(tenant), send(tenant)
    for _ in range(2):
        reply = cancel(tenant, dropped["id"])
        assert (reply.status_code, reply.json()) == (
            200,
            {"id": dropped["id"], "status": "cancelled", "deliver_at": dropped["deliver_at"]},
        )
    assert cancel(other_tenant, kept["id"]).status_code == 404
    let_come()
    assert hand_on_due() == 1
    for state in ("accepted", "processed"):
        reply = cancel(tenant, kept["id"])
        assert (reply.status_code, reply.json()["code"]) == (409, "wrong_state")
        assert status_of(tenant, kept["id"]) == state
        process_outbox()
    assert status_of(tenant, dropped["id"]) == "cancelled"
    at_once = send(tenant, delay_seconds=None)
    assert cancel(tenant, at_once["id"]).json()["code"] == "wrong_state"
    assert not AuditEntry.objects.filter(action="event.cancelled").exists()
    reader = make_tenant(scopes=["events:read"])
    assert cancel(reader, kept["id"]).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_cancelling_and_handing_on_at_once_agree() -> None:
    """Whoever is first: an event that a cancellation was confirmed for is never handed on."""
    tenant = make_tenant()
    for _ in range(10):
        event_id = send(tenant)["id"]
        let_come()

        def hand_on(_: object) -> int:
            try:
                return hand_on_due()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as threads:
            running = threads.map(hand_on, range(2))
            was_cancelled = cancel(tenant, event_id).status_code == 200
            assert sum(running) + was_cancelled == 1
        assert status_of(tenant, event_id) == ("cancelled" if was_cancelled else "accepted")


def test_many_are_handed_on_in_bounded_batches_the_oldest_first(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "EVENTS_PER_BATCH", 2)
    ids = [UUID(send(tenant, delay_seconds=100 - number)["id"]) for number in range(5)]
    Schedule.objects.update(deliver_at=timezone.now() - timedelta(seconds=1))
    Schedule.objects.filter(pk=ids[4]).update(deliver_at=timezone.now() - timedelta(seconds=9))
    assert hand_on_due(batches=1) == 2
    assert [entry.event_ids for entry in OutboxEntry.objects.order_by("created_at")[:1]] == [[ids[4]]]
    assert hand_on_due() == 3


def test_positions_follow_acceptance_and_the_time_of_being_handed_on(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clocks of the servers say; within a batch it is the place in it."""
    seen: dict[UUID, int] = {}

    def see(events: Sequence[StoredEvent]) -> None:
        seen.update((event.id, event.position) for event in events)

    monkeypatch.setattr(event_handlers, "functions", [*event_handlers, see])
    later, sooner = (UUID(send(tenant, delay_seconds=100 - number)["id"]) for number in range(2))
    batch = tenant.post(f"{EVENTS}/batch", {"events": [{"type": "t", "data": 1}] * 3}).json()["results"]
    last = UUID(tenant.post(EVENTS, {"type": "t", "data": 1}).json()["id"])
    OutboxEntry.objects.filter(event_ids=[last]).update(created_at=timezone.now() - timedelta(days=1))
    Schedule.objects.update(deliver_at=F("deliver_at") - timedelta(seconds=200))
    hand_on_due()
    process_outbox()
    expected = [*(UUID(one["id"]) for one in batch), last, sooner, later]
    assert sorted(seen, key=lambda event_id: seen[event_id]) == expected


def test_the_claim_of_what_is_due_reads_nothing_else(tenant: Tenant) -> None:
    send(tenant)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN " + scheduling._HAND_ON, [1000])
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "schedule_due" in plan


def test_lists_find_them(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [send(tenant, type=f"rare.{number}", source="/a" if number % 2 else "/b")["id"] for number in range(6)]
    plain = send(tenant, delay_seconds=None)["id"]
    process_outbox()
    for event_id in ids[:2]:
        cancel(tenant, event_id)
    assert walk(tenant, "status=scheduled")[0] == ids[:1:-1]
    assert walk(tenant, "status=cancelled", limit=1)[0] == ids[1::-1]
    assert walk(tenant, "status=scheduled&source=/a")[0] == [ids[5], ids[3]]
    assert walk(tenant, "status=processed")[0] == [plain]
    # Of types that processing has not seen.
    assert walk(tenant, "type=rare.*")[0] == ids[::-1]


def test_a_replay_sends_at_once_and_leaves_out_what_was_cancelled(tenant: Tenant) -> None:
    webhook = make_webhook(tenant.organization)
    waiting, dropped = send(tenant), send(tenant)
    cancel(tenant, dropped["id"])
    window = {"received_after": in_future(hours=-1), "received_before": in_future(hours=1)}
    replay = tenant.post("/api/v1/replays", {"subscription": str(webhook.pk), **window})
    assert replay.json()["total"] == 1
    run_replays()
    (delivery,) = Delivery.objects.filter(subscription=webhook)
    assert (str(delivery.event_id), delivery.status) == (waiting["id"], "pending")
    assert delivery.next_attempt_at is not None
    assert delivery.next_attempt_at <= datetime.now(UTC)


def test_people_cancel_it_on_its_page(tenant: Tenant) -> None:
    event_id = send(tenant)["id"]
    page = f"/console/o/{tenant.organization.slug}/events/{event_id}/"
    person = browser_of(make_member(tenant.organization))
    assert f"{event_id}/cancel" in person.get(page).content.decode()
    assert "Scheduled for" in person.get(page).content.decode()
    assert "was cancelled" in person.post(f"{page}cancel", follow=True).content.decode()
    assert f"{event_id}/cancel" not in person.get(page).content.decode()
    assert AuditEntry.objects.get(action="event.cancelled").target_id == event_id
    listed = person.get(f"/console/o/{tenant.organization.slug}/events/?status=cancelled")
    assert event_id in listed.content.decode()
