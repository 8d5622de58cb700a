"""Replays and retried dead letters: new chances for old events, each event once, also when the worker is killed."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from django.db import OperationalError, connections
from django.utils import timezone
from psycopg.errors import QueryCanceled
from uuid_utils.compat import uuid7

from core.times import format_time
from delivery.delivery_ids import bounds_of_event
from delivery.matching.event_view import EventView
from delivery.matching.interests import SubscriptionIndex
from delivery.models import Delivery, DeliveryStatus, Replay, Subscription, SubscriptionStatus
from delivery.operations import dead_letters, replays, retry_dead_letters, run_replays
from delivery.operations.replays import EVENTS_PER_BATCH, SETTLED_AFTER
from delivery.shown_status import shown_status
from events_platform.settings import CELERY_BEAT_SCHEDULE
from ingestion.models import Event
from ingestion.operations import process_outbox
from organizations.jobs import running
from organizations.jobs.models import JobStatus
from organizations.models import AuditEntry
from organizations.plans import LIMITS, Plan
from tests.conftest import Tenant, make_tenant
from tests.factories import (
    START,
    TESTER,
    event_id_at,
    inbox_of,
    make_dead_letters,
    make_delivery,
    make_events,
    make_organization,
    make_webhook,
)
from tests.support.celery_process import worker

WINDOW = {"received_after": format_time(START), "received_before": format_time(START + timedelta(hours=1))}
KILL_EVENTS = 30_000
DEADLINE_SECONDS = 120


def start(tenant: Tenant, subscription_id: UUID, **criteria: Any) -> Any:
    return tenant.post("/api/v1/replays", {"subscription": str(subscription_id), **WINDOW, **criteria})


def shown(tenant: Tenant, replay: Any) -> dict[str, Any]:
    found: dict[str, Any] = tenant.get(f"/api/v1/replays/{replay.json()['id']}").json()
    return found


def replayed(replay: Any) -> list[UUID]:
    """The events that a replay has made deliveries of, in order."""
    made = Delivery.objects.filter(replay_id=replay.json()["id"])
    return list(made.order_by("event_id").values_list("event_id", flat=True))


@pytest.fixture
def webhook(tenant: Tenant) -> Subscription:
    return make_webhook(tenant.organization)


def test_it_works(tenant: Tenant, webhook: Subscription) -> None:
    events = make_events(tenant.organization, 3)
    make_delivery(events[0], webhook, DeliveryStatus.DELIVERED)
    started = start(tenant, webhook.pk)
    assert started.status_code == 202
    assert started.json() == {
        "id": started.json()["id"],
        "subscription": str(webhook.pk),
        "status": "running",
        "total": 3,
        "looked_at": 0,
        "created": 0,
        **WINDOW,
        "event_ids": None,
        "event_types": ["*"],
        "only_undelivered": False,
        "created_at": started.json()["created_at"],
        "finished_at": None,
        "failure": None,
    }
    assert run_replays() == 3
    done = shown(tenant, started)
    assert (done["status"], done["total"], done["looked_at"], done["created"]) == ("done", 3, 3, 3)
    assert done["finished_at"] >= done["created_at"]
    assert tenant.get("/api/v1/replays").json() == {"data": [done], "next_cursor": None}

    assert replayed(started) == [event.pk for event in events]
    for delivery in Delivery.objects.filter(replay_id=done["id"]):
        assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 0)
        assert delivery.next_attempt_at is not None
        assert delivery.next_attempt_at <= timezone.now()
        lowest, highest = bounds_of_event(delivery.event_id)
        assert lowest <= delivery.pk <= highest
    assert run_replays() == 0
    entry = AuditEntry.objects.for_organization(tenant.organization.pk).get(action="replay.created")
    assert (entry.target_id, entry.changes["total"]) == (done["id"], 3)


def start_ids(tenant: Tenant, subscription_id: UUID, ids: list[Any], **values: Any) -> Any:
    body = {"subscription": str(subscription_id), "event_ids": [str(event_id) for event_id in ids], **values}
    return tenant.post("/api/v1/replays", body)


def test_named_events_alone_are_replayed(tenant: Tenant, webhook: Subscription) -> None:
    """Also those that were received in the very same moment as others, and a moment ago."""
    now = timezone.now()
    events = make_events(tenant.organization, 4, at=now)
    Event.objects.filter(pk__in=[event.pk for event in events]).update(received_at=now)
    wanted = [events[2].pk, events[0].pk]
    started = start_ids(tenant, webhook.pk, [*wanted, wanted[0]])
    assert (started.status_code, started.json()["total"]) == (202, 2)
    assert run_replays() == 2
    assert replayed(started) == sorted(wanted)
    done = shown(tenant, started)
    assert (done["status"], done["event_ids"]) == ("done", [str(event_id) for event_id in [*wanted, wanted[0]]])


def test_unknown_events_are_named(tenant: Tenant, other_tenant: Tenant, webhook: Subscription) -> None:
    mine, theirs = make_events(tenant.organization, 1)[0], make_events(other_tenant.organization, 1)[0]
    refused = start_ids(tenant, webhook.pk, [mine.pk, theirs.pk, uuid7()])
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/event_ids/1", "/event_ids/2"]


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"event_ids": []}, "/event_ids"),
        ({"event_ids": [str(uuid7())] * 1_001}, "/event_ids"),
        ({"event_ids": [str(uuid7())], **WINDOW}, "/event_ids"),
        ({"received_after": WINDOW["received_after"]}, "/received_before"),
        ({}, "/received_after"),
    ],
)
def test_events_are_chosen_in_one_way(
    tenant: Tenant, webhook: Subscription, values: dict[str, Any], pointer: str
) -> None:
    refused = tenant.post("/api/v1/replays", {"subscription": str(webhook.pk), **values})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)


def test_a_dry_run_counts_and_makes_nothing(tenant: Tenant, webhook: Subscription) -> None:
    make_events(tenant.organization, 3)
    counted = start(tenant, webhook.pk, dry_run=True)
    assert counted.status_code == 202
    assert counted.json()["total"] == 3
    assert [counted.json()[name] for name in ("id", "status", "created_at", "finished_at")] == [None] * 4
    assert run_replays() == 0
    assert not Replay.objects.exists()
    assert not AuditEntry.objects.filter(action="replay.created").exists()


def test_the_window_includes_its_start_and_not_its_end(tenant: Tenant, webhook: Subscription) -> None:
    end = START + timedelta(hours=1)
    for moment in (START - timedelta(microseconds=1), START, end - timedelta(microseconds=1), end):
        make_events(tenant.organization, 1, moment)
    started = start(tenant, webhook.pk)
    run_replays()
    received = Event.objects.filter(pk__in=replayed(started)).values_list("received_at", flat=True)
    assert sorted(received) == [START, end - timedelta(microseconds=1)]


def test_windows_side_by_side_miss_no_event_whose_id_was_made_before(tenant: Tenant, webhook: Subscription) -> None:
    """An event waits between its id and its time of receipt: its id may belong to the window before."""
    (event,) = make_events(tenant.organization, 1, START)
    late = event_id_at(START - timedelta(seconds=2))
    Event.objects.filter(pk=event.pk).update(id=late)
    assert start(tenant, webhook.pk, dry_run=True).json()["total"] == 1
    before = {"received_after": format_time(START - timedelta(hours=1)), "received_before": format_time(START)}
    assert start(tenant, webhook.pk, dry_run=True, **before).json()["total"] == 0


@pytest.mark.parametrize(
    ("patterns", "own_patterns", "types"),
    [
        (["invoice.paid"], ["*"], ["invoice.paid"]),
        (["invoice.*"], ["*"], ["invoice.paid", "invoice.sent"]),
        (["invoice.*", "order"], ["*"], ["invoice.paid", "invoice.sent", "order"]),
        (["*"], ["invoice.*"], ["invoice.paid", "invoice.sent"]),
        (["invoice.paid", "order"], ["invoice.*"], ["invoice.paid"]),
        (["none"], ["*"], []),
        (["inv%"], ["*"], None),
    ],
)
def test_types_of_the_replay_and_of_the_subscription_both_apply(
    tenant: Tenant, patterns: list[str], own_patterns: list[str], types: list[str] | None
) -> None:
    webhook = make_webhook(tenant.organization, event_types=own_patterns)
    for name in ("invoice.paid", "invoice.sent", "order"):
        make_events(tenant.organization, 1, type=name)
    started = start(tenant, webhook.pk, event_types=patterns)
    if types is None:
        assert started.json()["errors"][0]["pointer"] == "/event_types/0"
        return
    assert started.json()["total"] == len(types)
    run_replays()
    found = Event.objects.filter(pk__in=replayed(started)).values_list("type", flat=True)
    assert sorted(found) == types


def test_the_filter_of_the_subscription_applies(tenant: Tenant) -> None:
    webhook = make_webhook(tenant.organization, filter={"data.amount": {"gte": 10}})
    make_events(tenant.organization, 1, data={"amount": 9})
    (large,) = make_events(tenant.organization, 1, START + timedelta(seconds=1), data={"amount": 10})
    started = start(tenant, webhook.pk)
    run_replays()
    done = shown(tenant, started)
    assert (done["status"], done["total"], done["looked_at"], done["created"]) == ("done", 2, 2, 1)
    assert replayed(started) == [large.pk]


def test_only_undelivered_leaves_out_what_was_delivered_to_that_subscription(
    tenant: Tenant, webhook: Subscription
) -> None:
    other = make_webhook(tenant.organization)
    events = make_events(tenant.organization, 4)
    make_delivery(events[0], webhook, DeliveryStatus.DELIVERED)
    make_delivery(events[1], webhook, DeliveryStatus.DEAD_LETTER)
    make_delivery(events[2], other, DeliveryStatus.DELIVERED)
    started = start(tenant, webhook.pk, only_undelivered=True)
    assert started.json()["total"] == 3
    run_replays()
    assert replayed(started) == [event.pk for event in events[1:]]
    done = shown(tenant, started)
    assert (done["status"], done["looked_at"], done["created"]) == ("done", 3, 3)

    Delivery.objects.filter(replay_id=started.json()["id"], event_id=events[1].pk).update(
        status=DeliveryStatus.DELIVERED
    )
    assert start(tenant, webhook.pk, only_undelivered=True, dry_run=True).json()["total"] == 2


def test_counting_ends_at_a_million_and_goes_on_as_events_are_looked_at(
    tenant: Tenant, webhook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "MAX_COUNTED", 2)
    events = make_events(tenant.organization, 5)
    make_delivery(events[0], webhook, DeliveryStatus.DELIVERED)
    whole, undelivered = start(tenant, webhook.pk), start(tenant, webhook.pk, only_undelivered=True)
    assert (whole.json()["total"], undelivered.json()["total"]) == (2, 1)
    run_replays()
    assert (shown(tenant, whole)["total"], shown(tenant, undelivered)["total"]) == (5, 4)


def test_replays_of_the_same_events_are_deliveries_of_their_own(tenant: Tenant, webhook: Subscription) -> None:
    make_events(tenant.organization, 2)
    first, second = start(tenant, webhook.pk), start(tenant, webhook.pk)
    assert run_replays() == 4
    assert replayed(first) == replayed(second)


def test_replayed_events_are_pending_again_in_an_inbox(tenant: Tenant) -> None:
    inbox_id = inbox_of(tenant.organization)
    (event,) = make_events(tenant.organization, 1)
    make_delivery(event, Subscription.objects.get(pk=inbox_id), DeliveryStatus.DELIVERED)
    assert tenant.get("/api/v1/inbox").json()["data"] == []
    start(tenant, inbox_id)
    run_replays()
    assert [found["id"] for found in tenant.get("/api/v1/inbox").json()["data"]] == [str(event.pk)]
    answer = tenant.post("/api/v1/inbox/ack", {"event_ids": [str(event.pk)]}).json()
    assert answer["acknowledged"] == [str(event.pk)]
    assert tenant.get("/api/v1/inbox").json()["data"] == []


def test_it_goes_on_in_batches(tenant: Tenant, webhook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "EVENTS_PER_BATCH", 3)
    make_events(tenant.organization, 7)
    started = start(tenant, webhook.pk)
    seen = []
    while (step := running.run_portion(replays.REPLAYS, UUID(started.json()["id"]), timezone.now())) is not None:
        progress = shown(tenant, started)
        seen.append((step, progress["looked_at"], progress["created"], progress["status"]))
    assert seen == [(3, 3, 3, "running"), (3, 6, 6, "running"), (1, 7, 7, "done")]


def test_running_replays_take_turns(tenant: Tenant, webhook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "EVENTS_PER_BATCH", 2)
    make_events(tenant.organization, 20)
    large = start(tenant, webhook.pk)
    small = start(tenant, webhook.pk, event_types=["none"])
    steps = mock.Mock(side_effect=running.run_portion)
    monkeypatch.setattr(running, "run_portion", steps)
    run_replays()
    order = [str(call.args[1]) for call in steps.call_args_list]
    assert order[:2] == [large.json()["id"], small.json()["id"]]
    assert shown(tenant, large)["status"] == shown(tenant, small)["status"] == "done"


def test_a_filter_that_does_not_compile_any_more_lets_everything_pass_live_and_in_replays(tenant: Tenant) -> None:
    broken = make_webhook(tenant.organization)
    Subscription.objects.filter(pk=broken.pk).update(filter={"data.x": {"like": 1}})
    events = make_events(tenant.organization, 2)
    started = start(tenant, broken.pk)
    assert run_replays() == 2
    assert (shown(tenant, started)["status"], replayed(started)) == ("done", [event.pk for event in events])
    [matcher] = SubscriptionIndex().of([tenant.organization.pk]).values()
    assert broken.pk in [wanted.subscription_id for wanted in matcher.match(EventView("a", None, None, "1"))]


@pytest.mark.parametrize(
    ("error", "tries", "reason"),
    [
        (ValueError("secret"), running.MAX_FAILURES, "A batch could not be made (ValueError)."),
        (OperationalError(), running.MAX_TIMEOUTS, "A batch took too long."),
    ],
)
def test_a_replay_that_always_fails_holds_up_no_other_and_ends(
    tenant: Tenant, error: Exception, tries: int, reason: str
) -> None:
    error.__cause__ = QueryCanceled()
    failing = start(tenant, make_webhook(tenant.organization).pk)
    make_events(tenant.organization, 1)
    started = start(tenant, make_webhook(tenant.organization).pk)
    next_events = replays._next_events

    def fail(replay: Replay, size: int) -> list[Event]:
        if str(replay.pk) == failing.json()["id"]:
            raise error
        return next_events(replay, size)

    with mock.patch.object(replays, "_next_events", side_effect=fail):
        assert run_replays() == 1
        assert shown(tenant, started)["status"] == "done"
        for _ in range(tries - 2):
            run_replays()
        assert (shown(tenant, failing)["status"], shown(tenant, failing)["failure"]) == ("running", reason)
        run_replays()
    ended = shown(tenant, failing)
    assert (ended["status"], ended["failure"]) == ("failed", reason)
    assert ended["finished_at"]


def test_a_batch_that_is_made_forgets_the_failures_before_it(tenant: Tenant, webhook: Subscription) -> None:
    started = start(tenant, webhook.pk)
    make_events(tenant.organization, 1)
    with mock.patch.object(replays, "_next_events", side_effect=ValueError):
        run_replays()
    assert run_replays() == 1
    assert (shown(tenant, started)["status"], shown(tenant, started)["failure"]) == ("done", None)


def test_the_databases_trouble_is_raised(tenant: Tenant, webhook: Subscription) -> None:
    start(tenant, webhook.pk)
    with mock.patch.object(replays, "_next_events", side_effect=OperationalError), pytest.raises(OperationalError):
        run_replays()
    assert Replay.objects.get().status == JobStatus.RUNNING


def test_a_cancelled_replay_stops_and_keeps_what_it_made(
    tenant: Tenant, webhook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "EVENTS_PER_BATCH", 3)
    make_events(tenant.organization, 7)
    started = start(tenant, webhook.pk)
    path = f"/api/v1/replays/{started.json()['id']}/cancel"
    running.run_portion(replays.REPLAYS, UUID(started.json()["id"]), timezone.now())
    cancelled = tenant.post(path)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["finished_at"] is not None
    assert run_replays() == 0
    assert len(replayed(started)) == 3
    assert tenant.post(path).json() == cancelled.json() == shown(tenant, started)
    assert AuditEntry.objects.filter(action="replay.cancelled").count() == 1


def test_a_replay_that_is_done_stays_done(tenant: Tenant, webhook: Subscription) -> None:
    started = start(tenant, webhook.pk)
    run_replays()
    assert tenant.post(f"/api/v1/replays/{started.json()['id']}/cancel").json() == shown(tenant, started)
    assert shown(tenant, started)["status"] == "done"
    assert not AuditEntry.objects.filter(action="replay.cancelled").exists()


def test_a_deleted_subscription_ends_its_replays(tenant: Tenant, webhook: Subscription) -> None:
    make_events(tenant.organization, 1)
    started = start(tenant, webhook.pk)
    Subscription.objects.filter(pk=webhook.pk).update(status=SubscriptionStatus.DELETED)
    assert run_replays() == 0
    assert shown(tenant, started)["status"] == "cancelled"
    assert start(tenant, webhook.pk).status_code == 404


@pytest.mark.parametrize("status", [SubscriptionStatus.PAUSED, SubscriptionStatus.DISABLED])
def test_a_subscription_at_rest_holds_replayed_events(tenant: Tenant, status: SubscriptionStatus) -> None:
    webhook = make_webhook(tenant.organization, status=status)
    make_events(tenant.organization, 1)
    started = start(tenant, webhook.pk)
    run_replays()
    (delivery,) = Delivery.objects.filter(replay_id=started.json()["id"])
    assert shown_status(delivery, webhook, now=timezone.now()) == DeliveryStatus.HELD


def test_events_of_the_last_seconds_are_replayed_at_once_and_looked_for_again(
    tenant: Tenant, webhook: Subscription
) -> None:
    """An event with an older id may be committed late: until then the cursor stays before it."""
    now = timezone.now()
    older = now - timedelta(seconds=2)
    (newer,) = make_events(tenant.organization, 1, now - timedelta(seconds=1))
    window = {"received_after": WINDOW["received_after"], "received_before": format_time(now + timedelta(days=1))}
    started = start(tenant, webhook.pk, **window)
    assert format_time(now) <= started.json()["received_before"] <= format_time(timezone.now())
    assert run_replays() == 1
    assert shown(tenant, started)["status"] == "running"
    (late,) = make_events(tenant.organization, 1, older)
    assert run_replays() == 1
    with mock.patch.object(timezone, "now", return_value=now + SETTLED_AFTER + timedelta(minutes=1)):
        assert run_replays() == 0
    done = shown(tenant, started)
    assert (done["status"], done["total"], done["looked_at"], done["created"]) == ("done", 2, 2, 2)
    assert replayed(started) == [late.pk, newer.pk]


def test_events_that_come_after_the_request_are_not_replayed(tenant: Tenant, webhook: Subscription) -> None:
    tomorrow = format_time(timezone.now() + timedelta(days=1))
    started = start(tenant, webhook.pk, received_before=tomorrow)
    make_events(tenant.organization, 1, timezone.now())
    assert run_replays() == 0
    assert replayed(started) == []


@pytest.mark.parametrize(
    ("criteria", "code", "pointer"),
    [
        ({"subscription": "x"}, "invalid", "/subscription"),
        ({"received_after": "yesterday"}, "invalid", "/received_after"),
        ({"received_after": "2026-01-07T12:00:00"}, "invalid", "/received_after"),
        ({"received_after": "0001-01-01T00:00:00+10:00"}, "invalid", "/received_after"),
        ({"received_before": "9999-12-31T23:59:59-10:00"}, "invalid", "/received_before"),
        ({"received_after": "2026-01-07T13:00:00Z"}, "empty_window", "/received_after"),
        ({"received_after": "2999-01-01T00:00:00Z", "received_before": "2999-01-02T00:00:00Z"},
         "empty_window", "/received_after"),
        ({"event_types": []}, "empty", "/event_types"),
        ({"event_types": ["a b"]}, "invalid_pattern", "/event_types/0"),
        ({"event_types": ["a"] * 101}, "too_many", "/event_types"),
        ({"only_undelivered": 1}, "invalid", "/only_undelivered"),
        ({"colour": 1}, "unknown_field", "/colour"),
    ],
)  # fmt: skip
def test_bad_input_is_named(
    tenant: Tenant, webhook: Subscription, criteria: dict[str, Any], code: str, pointer: str
) -> None:
    answer = tenant.post("/api/v1/replays", {"subscription": str(webhook.pk), **WINDOW, **criteria})
    assert answer.status_code == 422
    assert [(error["code"], error["pointer"]) for error in answer.json()["errors"]] == [(code, pointer)]


@pytest.mark.parametrize("missing", ["subscription", "received_after", "received_before"])
def test_a_missing_field_is_named(tenant: Tenant, webhook: Subscription, missing: str) -> None:
    body = {"subscription": str(webhook.pk), **WINDOW}
    del body[missing]
    assert tenant.post("/api/v1/replays", body).json()["errors"][0]["pointer"] == f"/{missing}"


@pytest.mark.parametrize("start_of_time", ["0001-01-01T00:00:00Z", "1969-12-31T23:00:00Z"])
def test_a_window_may_begin_before_all_events(tenant: Tenant, webhook: Subscription, start_of_time: str) -> None:
    make_events(tenant.organization, 1)
    started = start(tenant, webhook.pk, received_after=start_of_time)
    assert started.json()["total"] == 1
    assert run_replays() == 1


def test_an_organization_has_a_limit_of_running_replays(tenant: Tenant, webhook: Subscription) -> None:
    for _ in range(LIMITS[Plan.FREE].replays_running):
        assert start(tenant, webhook.pk).status_code == 202
    assert start(tenant, webhook.pk).json()["errors"][0]["code"] == "too_many"
    assert start(tenant, webhook.pk, dry_run=True).status_code == 202
    run_replays()
    assert start(tenant, webhook.pk).status_code == 202


def test_another_tenants_objects_are_not_found(tenant: Tenant, other_tenant: Tenant, webhook: Subscription) -> None:
    replay_id = start(tenant, webhook.pk).json()["id"]
    assert start(other_tenant, webhook.pk).status_code == 404
    assert other_tenant.get(f"/api/v1/replays/{replay_id}").status_code == 404
    assert other_tenant.post(f"/api/v1/replays/{replay_id}/cancel").status_code == 404
    assert other_tenant.post(f"/api/v1/subscriptions/{webhook.pk}/retry-dead-letters").status_code == 404
    assert other_tenant.get("/api/v1/replays").json()["data"] == []
    assert Replay.objects.get().status == JobStatus.RUNNING


def test_a_replay_never_takes_another_tenants_events(
    tenant: Tenant, other_tenant: Tenant, webhook: Subscription
) -> None:
    make_events(other_tenant.organization, 1)
    assert start(tenant, webhook.pk).json()["total"] == 0
    assert run_replays() == 0


def test_it_all_needs_the_scope(db: None) -> None:
    reader = make_tenant(scopes=["events:read", "inbox:consume"])
    inbox_id = inbox_of(reader.organization)
    assert start(reader, inbox_id).status_code == 403
    assert reader.get("/api/v1/replays").status_code == 403
    assert reader.get(f"/api/v1/replays/{uuid7()}").status_code == 403
    assert reader.post(f"/api/v1/replays/{uuid7()}/cancel").status_code == 403
    assert reader.post(f"/api/v1/subscriptions/{inbox_id}/retry-dead-letters").status_code == 403


def test_lists_page(tenant: Tenant, webhook: Subscription) -> None:
    ids = [start(tenant, webhook.pk).json()["id"] for _ in range(3)]
    page = tenant.get("/api/v1/replays?limit=2").json()
    assert [replay["id"] for replay in page["data"]] == [ids[2], ids[1]]
    rest = tenant.get(f"/api/v1/replays?limit=2&cursor={page['next_cursor']}").json()
    assert [replay["id"] for replay in rest["data"]] == [ids[0]]
    assert rest["next_cursor"] is None
    assert tenant.get("/api/v1/replays?cursor=forged").status_code == 400
    assert tenant.get("/api/v1/replays?status=running").status_code == 422


def test_a_fresh_event_can_be_replayed_too(tenant: Tenant) -> None:
    inbox_id = inbox_of(tenant.organization)
    event_id = tenant.post("/api/v1/events", {"type": "a", "data": 1}).json()["id"]
    process_outbox()
    started = start(tenant, inbox_id, received_before=format_time(timezone.now() + timedelta(hours=1)))
    run_replays()
    assert [str(pk) for pk in replayed(started)] == [event_id]


def test_the_sweep_is_scheduled() -> None:
    assert CELERY_BEAT_SCHEDULE["run-replays"]["schedule"] <= 10


# --- Dead letters ------------------------------------------------------------------------------------------------


def retry(tenant: Tenant, subscription: Subscription, body: Any = None) -> Any:
    return tenant.post(f"/api/v1/subscriptions/{subscription.pk}/retry-dead-letters", body)


@pytest.mark.parametrize("body", [None, {}, {"dry_run": False}])
def test_all_dead_letters_of_a_subscription_are_due_again(tenant: Tenant, webhook: Subscription, body: Any) -> None:
    make_dead_letters(webhook, 3)
    (elsewhere,) = make_dead_letters(make_webhook(tenant.organization), 1)
    (delivered,) = make_events(tenant.organization, 1)
    make_delivery(delivered, webhook, DeliveryStatus.DELIVERED)
    answer = retry(tenant, webhook, body)
    assert answer.status_code == 200
    assert answer.json() == {"total": 3, "retried": 3, "remaining": 0}
    due = Delivery.objects.filter(subscription=webhook, status=DeliveryStatus.PENDING, attempts=0)
    assert due.filter(next_attempt_at__lte=timezone.now(), lease_id=None).count() == 3
    elsewhere.refresh_from_db()
    assert elsewhere.status == DeliveryStatus.DEAD_LETTER
    entry = AuditEntry.objects.get(action="subscription.dead_letters_retried")
    assert (entry.target_id, entry.changes) == (str(webhook.pk), {"total": 3})
    assert retry(tenant, webhook, body).json() == {"total": 0, "retried": 0, "remaining": 0}


def test_a_dry_run_only_counts_dead_letters(tenant: Tenant, webhook: Subscription) -> None:
    make_dead_letters(webhook, 2)
    assert retry(tenant, webhook, {"dry_run": True}).json() == {"total": 2, "retried": 0, "remaining": 2}
    assert Delivery.objects.filter(status=DeliveryStatus.DEAD_LETTER).count() == 2
    assert not AuditEntry.objects.filter(action="subscription.dead_letters_retried").exists()


def test_dead_letters_of_an_inbox_are_pending_again(tenant: Tenant) -> None:
    inbox = Subscription.objects.get(pk=inbox_of(tenant.organization))
    make_dead_letters(inbox, 1)
    assert retry(tenant, inbox).json()["retried"] == 1
    assert len(tenant.get("/api/v1/inbox").json()["data"]) == 1


def test_more_dead_letters_than_one_request_takes_are_told(
    tenant: Tenant, webhook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "DELIVERIES_PER_BATCH", 2)
    monkeypatch.setattr(dead_letters, "MAX_RETRIED", 4)
    letters = make_dead_letters(webhook, 5)
    assert retry(tenant, webhook).json() == {"total": 5, "retried": 4, "remaining": 1}
    left = Delivery.objects.filter(status=DeliveryStatus.DEAD_LETTER).values_list("pk", flat=True)
    assert list(left) == [letters[-1].pk]
    assert retry(tenant, webhook).json() == {"total": 1, "retried": 1, "remaining": 0}


def test_what_dies_again_at_once_is_not_retried_for_ever(
    tenant: Tenant, webhook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "DELIVERIES_PER_BATCH", 1)
    make_dead_letters(webhook, 2)
    monkeypatch.setattr(dead_letters, "DUE_AGAIN", {"status": DeliveryStatus.DEAD_LETTER})
    outcome = retry_dead_letters(subscription=webhook, actor=TESTER)
    assert outcome.retried == 2


@pytest.mark.parametrize(
    ("body", "status"), [({"dry_run": "yes"}, 422), ({"all": True}, 422), (b"{", 400), (b"[]", 422)]
)
def test_a_bad_wish_is_refused(tenant: Tenant, webhook: Subscription, body: Any, status: int) -> None:
    assert retry(tenant, webhook, body).status_code == status


# --- Many at once, and kills -------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_runners_at_the_same_time_make_each_delivery_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "EVENTS_PER_BATCH", 10)
    tenant = make_tenant()
    webhook = make_webhook(tenant.organization)
    events = make_events(tenant.organization, 100)
    started = [start(tenant, webhook.pk) for _ in range(3)]

    def run(_: int) -> int:
        try:
            return sum(run_replays() for _ in range(5))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(run, range(4))) == 300
    run_replays()
    for replay in started:
        assert replayed(replay) == [event.pk for event in events]
        progress = shown(tenant, replay)
        assert (progress["status"], progress["looked_at"], progress["created"]) == ("done", 100, 100)


@pytest.mark.faults
@pytest.mark.django_db(transaction=True)
def test_a_killed_worker_replays_each_event_once() -> None:
    organization = make_organization()
    inbox = Subscription.objects.get(pk=inbox_of(organization))
    events = make_events(organization, KILL_EVENTS)
    replay = replays.create_replay(
        subscription=inbox,
        criteria=replays.ReplayRequest(received_after=START, received_before=START + timedelta(hours=1)),
        actor=TESTER,
        now=timezone.now(),
    )
    assert replay.total == KILL_EVENTS
    with worker():
        _wait_for(replay, lambda: replay.looked_at >= 2 * EVENTS_PER_BATCH)
    replay.refresh_from_db()
    assert replay.status == JobStatus.RUNNING, "the worker was to be killed in the middle"
    made = Delivery.objects.filter(replay_id=replay.pk)
    assert made.count() == replay.created == replay.looked_at < KILL_EVENTS
    with worker():
        _wait_for(replay, lambda: replay.status == JobStatus.DONE)
    assert sorted(made.values_list("event_id", flat=True)) == sorted(event.pk for event in events)
    assert replay.created == replay.looked_at == replay.total == KILL_EVENTS
    connections.close_all()


def _wait_for(replay: Replay, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "the worker replays nothing"
        time.sleep(0.005)
        replay.refresh_from_db()
