"""Deliveries as the API shows them: lists, details, what an event tells of them, and retries by hand."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from core.times import format_time
from delivery.api import attempts
from delivery.api.delivery_schemas import DeliveryFields
from delivery.attempts.exchange import Timings
from delivery.attempts.records import AttemptRecord, pack
from delivery.delivery_ids import delivery_id
from delivery.kinds import webhook
from delivery.models import Attempt, Delivery, DeliveryStatus, ManualRetry, Subscription, SubscriptionStatus
from delivery.operations import subscription_fields
from delivery.operations.retention import forget_responses
from delivery.webhooks import guard
from ingestion.models import Event
from organizations.models import AuditEntry
from tests.conftest import Tenant, make_tenant

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OPEN = ("pending", "retrying")


@pytest.fixture(autouse=True)
def _no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)


@pytest.fixture
def hook(tenant: Tenant) -> str:
    return make_hook(tenant)


def make_hook(tenant: Tenant) -> str:
    body = {"kind": "webhook", "url": "https://example.com/hook"}
    return str(tenant.post("/api/v1/subscriptions", body).json()["id"])


def make_event(tenant: Tenant, event_type: str = "invoice.paid") -> UUID:
    """An event that was not processed, so that it has no delivery but those that the test makes."""
    return UUID(tenant.post("/api/v1/events", {"type": event_type, "data": 1}).json()["id"])


def make_delivery(tenant: Tenant, subscription_id: str, status: str = "pending", **values: Any) -> Delivery:
    event_id = values.pop("event_id", None) or make_event(tenant)
    if status in OPEN:
        values.setdefault("next_attempt_at", NOW)
    if status == "delivered":
        values.setdefault("delivered_at", NOW)
    return Delivery.objects.create(
        id=delivery_id(event_id, UUID(subscription_id), values.get("replay_id")),
        organization=tenant.organization,
        subscription_id=UUID(subscription_id),
        event_id=event_id,
        status=status,
        created_at=NOW,
        **values,
    )


def make_attempt(delivery: Delivery, number: int, **values: Any) -> Attempt:
    return Attempt.objects.create(
        id=uuid7(),
        organization_id=delivery.organization_id,
        subscription_id=delivery.subscription_id,
        delivery_id=delivery.pk,
        number=number,
        started_at=NOW + timedelta(seconds=number),
        duration_ms=12,
        **values,
    )


def listed(tenant: Tenant, subscription_id: str, query: str = "") -> list[str]:
    answer = tenant.get(f"/api/v1/subscriptions/{subscription_id}/deliveries{query}")
    assert answer.status_code == 200, answer.json()
    return [found["id"] for found in answer.json()["data"]]


def retry(tenant: Tenant, delivery: Delivery) -> Any:
    return tenant.post(f"/api/v1/deliveries/{delivery.pk}/retry")


def test_it_works(tenant: Tenant, hook: str) -> None:
    delivery = make_delivery(tenant, hook, "retrying", attempts=2, last_error="timeout")
    make_attempt(delivery, 1, status_code=500, error="http_error", response="oh no")
    make_attempt(delivery, 2, error="timeout")
    shown = {
        "id": str(delivery.pk),
        "subscription": hook,
        "event_id": str(delivery.event_id),
        "event_type": "invoice.paid",
        "status": "retrying",
        "attempts": 2,
        "held_reason": None,
        "next_attempt_at": None,
        "last_error": "timeout",
        "created_at": format_time(NOW),
        "delivered_at": None,
        "replay_id": None,
        "sequence": None,
    }
    page = tenant.get(f"/api/v1/subscriptions/{hook}/deliveries").json()
    assert page == {"data": [shown], "next_cursor": None}

    unrecorded = dict.fromkeys(
        ["url", "timings", "remote_address", "request_headers", "response_headers", "error_detail"]
    )
    attempts = [
        {
            **unrecorded,
            "number": 1,
            "started_at": format_time(NOW + timedelta(seconds=1)),
            "duration_ms": 12,
            "status_code": 500,
            "error": "http_error",
            "response": "oh no",
            "response_body": "oh no",
        },
        {
            **unrecorded,
            "number": 2,
            "started_at": format_time(NOW + timedelta(seconds=2)),
            "duration_ms": 12,
            "status_code": None,
            "error": "timeout",
            "response": "",
            "response_body": "",
        },
    ]
    details = {**shown, "attempts": attempts}
    assert tenant.get(f"/api/v1/deliveries/{delivery.pk}").json() == details
    assert tenant.get(f"/api/v1/events/{delivery.event_id}").json()["deliveries"] == [details]

    retried = retry(tenant, delivery)
    assert retried.status_code == 202
    delivery.refresh_from_db()
    assert delivery.next_attempt_at is not None
    assert delivery.next_attempt_at > NOW
    assert retried.json() == {**shown, "next_attempt_at": retried.json()["next_attempt_at"]}


def test_the_event_knows_each_status() -> None:
    shown = DeliveryFields.__annotations__["status"]
    assert list(shown.__args__) == DeliveryStatus.values


# --- Lists -------------------------------------------------------------------------------------------------------


def test_lists_filter_by_the_status_that_is_shown(tenant: Tenant, hook: str) -> None:
    statuses = ("pending", "retrying", "delivered", "dead_letter")
    made = {status: str(make_delivery(tenant, hook, status).pk) for status in statuses}
    newest_first = list(made.values())[::-1]
    assert listed(tenant, hook) == newest_first
    for status, delivery_id_ in made.items():
        assert listed(tenant, hook, f"?status={status}") == [delivery_id_]
    assert listed(tenant, hook, "?status=held") == []

    tenant.post(f"/api/v1/subscriptions/{hook}/pause")
    assert listed(tenant, hook) == newest_first
    assert listed(tenant, hook, "?status=held") == [made["retrying"], made["pending"]]
    for status in OPEN:
        assert listed(tenant, hook, f"?status={status}") == []
    assert listed(tenant, hook, "?status=delivered") == [made["delivered"]]
    page = tenant.get(f"/api/v1/subscriptions/{hook}/deliveries?status=held").json()
    assert {found["status"] for found in page["data"]} == {"held"}
    assert tenant.get(f"/api/v1/deliveries/{made['pending']}").json()["status"] == "held"
    assert tenant.get(f"/api/v1/subscriptions/{hook}/deliveries?status=x").status_code == 422


@pytest.mark.parametrize("limit", [1, 2, 3, 11])
def test_pages_of_all_statuses_hold_each_delivery_once(tenant: Tenant, hook: str, limit: int) -> None:
    cycle = ("pending", "dead_letter", "delivered", "delivered", "retrying")
    made = [str(make_delivery(tenant, hook, cycle[number % 5]).pk) for number in range(11)]
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = tenant.get(f"/api/v1/subscriptions/{hook}/deliveries?limit={limit}&{cursor}").json()
        assert len(page["data"]) <= limit
        seen += [found["id"] for found in page["data"]]
        make_delivery(tenant, hook)
        cursor = page["next_cursor"] and f"cursor={page['next_cursor']}"
    assert seen == made[::-1]


def test_a_cursor_is_for_one_list(tenant: Tenant, hook: str) -> None:
    for _ in range(2):
        make_delivery(tenant, hook)
    cursor = tenant.get(f"/api/v1/subscriptions/{hook}/deliveries?limit=1").json()["next_cursor"]
    answer = tenant.get(f"/api/v1/subscriptions/{make_hook(tenant)}/deliveries?cursor={cursor}")
    assert answer.json()["code"] == "invalid_cursor"


def test_a_list_asks_the_index_for_each_status(tenant: Tenant, hook: str) -> None:
    """Without that, a page of a rare status would read all deliveries of a subscription."""
    with CaptureQueriesContext(connection) as captured:
        listed(tenant, hook, "?limit=10")
    [page] = [query["sql"] for query in captured if "delivery_delivery" in query["sql"] and "LIMIT 11" in query["sql"]]
    assert len(re.findall(r'"status" = \'[a-z_]+\'\) ORDER BY 1 DESC LIMIT 11\)', page)) == 4


def test_a_list_holds_only_its_own(tenant: Tenant, other_tenant: Tenant, hook: str) -> None:
    make_delivery(tenant, make_hook(tenant))
    make_delivery(other_tenant, make_hook(other_tenant))
    assert listed(tenant, hook) == []


def test_a_delivery_outlives_its_event_and_its_subscription(tenant: Tenant, hook: str) -> None:
    delivery = make_delivery(tenant, hook, "delivered", replay_id=uuid4())
    Event.objects.all().delete()
    assert tenant.get(f"/api/v1/subscriptions/{hook}/deliveries").json()["data"][0]["event_type"] is None
    tenant.request("DELETE", f"/api/v1/subscriptions/{hook}")
    shown = tenant.get(f"/api/v1/deliveries/{delivery.pk}").json()
    assert (shown["event_type"], shown["replay_id"], shown["status"]) == (None, str(delivery.replay_id), "delivered")
    answer = retry(tenant, delivery)
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")


# --- Events ------------------------------------------------------------------------------------------------------


def test_an_event_shows_its_deliveries_replayed_ones_too(tenant: Tenant, hook: str) -> None:
    event_id, other = make_event(tenant), make_event(tenant)
    replay_id = uuid4()
    made = {
        str(make_delivery(tenant, hook, event_id=event_id).pk): None,
        str(make_delivery(tenant, make_hook(tenant), event_id=event_id).pk): None,
        str(make_delivery(tenant, hook, "delivered", event_id=event_id, replay_id=replay_id).pk): str(replay_id),
    }
    make_delivery(tenant, hook, event_id=other)
    shown = tenant.get(f"/api/v1/events/{event_id}").json()["deliveries"]
    assert {found["id"]: found["replay_id"] for found in shown} == made


def test_an_event_shows_only_the_begin_of_responses(tenant: Tenant, hook: str) -> None:
    delivery = make_delivery(tenant, hook, "delivered")
    make_attempt(delivery, 1, status_code=200, response="x" * 20_000)
    (shown,) = tenant.get(f"/api/v1/events/{delivery.event_id}").json()["deliveries"]
    assert shown["attempts"][0]["response"] == "x" * attempts.EXCERPT_LENGTH
    assert len(tenant.get(f"/api/v1/deliveries/{delivery.pk}").json()["attempts"][0]["response"]) == 20_000


def test_a_first_success_is_shown_like_any_other_attempt(tenant: Tenant, hook: str) -> None:
    event_id = make_event(tenant)
    sent = {"Host": "example.com", "webhook-id": str(event_id)}
    record = AttemptRecord(
        started_at=NOW,
        status=201,
        url="https://example.com/hook",
        remote_address="192.0.2.7",
        timings=Timings(1, 2, 3, 4),
        request_headers=sent,
        response_headers={"Server": "nginx"},
        detail="The endpoint answered 201 (Created).",
    )
    first = {"first_attempt": pack(record, event_id=event_id), "first_duration_ms": 12, "first_response": "y" * 600}
    delivery = make_delivery(tenant, hook, "delivered", event_id=event_id, attempts=1, **first)
    shown = {
        "number": 1,
        "url": "https://example.com/hook",
        "started_at": format_time(NOW),
        "duration_ms": 12,
        "timings": {"dns_ms": 1, "connect_ms": 2, "tls_ms": 3, "first_byte_ms": 4, "total_ms": 12},
        "remote_address": "192.0.2.7",
        "request_headers": sent,
        "status_code": 201,
        "response_headers": {"Server": "nginx"},
        "response_body": "y" * 600,
        "error": None,
        "error_detail": None,
        "response": "y" * 600,
    }
    assert tenant.get(f"/api/v1/deliveries/{delivery.pk}").json()["attempts"] == [shown]
    (of_event,) = tenant.get(f"/api/v1/events/{event_id}").json()["deliveries"]
    excerpt = "y" * attempts.EXCERPT_LENGTH
    assert of_event["attempts"] == [{**shown, "response": excerpt, "response_body": excerpt}]
    assert forget_responses(organization_id=tenant.organization.pk, event_ids=[event_id]) == 1
    (forgotten,) = tenant.get(f"/api/v1/deliveries/{delivery.pk}").json()["attempts"]
    assert forgotten == {**shown, "response_headers": {}, "response": "", "response_body": ""}


def test_of_many_attempts_the_latest_are_shown(tenant: Tenant, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_ATTEMPTS", 3)
    delivery = make_delivery(tenant, hook, "retrying")
    for number in range(1, 6):
        make_attempt(delivery, number, error="timeout")
    shown = tenant.get(f"/api/v1/deliveries/{delivery.pk}").json()["attempts"]
    assert [attempt["number"] for attempt in shown] == [3, 4, 5]
    (of_event,) = tenant.get(f"/api/v1/events/{delivery.event_id}").json()["deliveries"]
    assert of_event["attempts"] == shown


def test_an_event_costs_the_same_few_queries_with_many_deliveries(tenant: Tenant) -> None:
    def queries(event_id: UUID) -> int:
        with CaptureQueriesContext(connection) as captured:
            tenant.get(f"/api/v1/events/{event_id}")
        return len(captured)

    few, many = make_event(tenant), make_event(tenant)
    for event_id, count in ((few, 1), (many, 9)):
        for _ in range(count):
            make_attempt(make_delivery(tenant, make_hook(tenant), "delivered", event_id=event_id), 1)
    # The key is looked up anew when more than a second has passed since.
    assert min(queries(few) for _ in range(3)) == min(queries(many) for _ in range(3))


# --- Retries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["dead_letter", "delivered"])
def test_what_is_over_starts_over(tenant: Tenant, hook: str, status: str) -> None:
    delivery = make_delivery(tenant, hook, status, attempts=10, last_error="timeout")
    before = datetime.now(UTC)
    answer = retry(tenant, delivery)
    assert (answer.status_code, answer.json()["status"], answer.json()["attempts"]) == (202, "pending", 10)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts, delivery.delivered_at) == ("pending", 0, None)
    assert delivery.earlier_attempts == 10
    assert delivery.next_attempt_at is not None
    assert before <= delivery.next_attempt_at <= datetime.now(UTC)
    entry = AuditEntry.objects.get(action="delivery.retried")
    assert entry.changes == {"status": status, "attempts": 10}
    assert entry.target_id == str(delivery.pk)


@pytest.mark.parametrize("status", OPEN)
def test_what_is_open_keeps_its_attempts_and_is_due(tenant: Tenant, hook: str, status: str) -> None:
    later = datetime.now(UTC) + timedelta(hours=10)
    delivery = make_delivery(tenant, hook, status, attempts=3, next_attempt_at=later)
    assert retry(tenant, delivery).json()["status"] == status
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == (status, 3)
    assert delivery.next_attempt_at is not None
    assert delivery.next_attempt_at <= datetime.now(UTC)


def test_a_retry_of_a_held_one_waits_for_its_subscription(tenant: Tenant, hook: str) -> None:
    delivery = make_delivery(tenant, hook, "dead_letter")
    tenant.post(f"/api/v1/subscriptions/{hook}/pause")
    answer = retry(tenant, delivery)
    assert (answer.status_code, answer.json()["status"]) == (202, "held")


def test_what_somebody_has_taken_is_not_taken_again(tenant: Tenant, hook: str) -> None:
    lease_id, ends = uuid4(), datetime.now(UTC) + timedelta(seconds=30)
    delivery = make_delivery(tenant, hook, "retrying", lease_id=lease_id, next_attempt_at=ends)
    answer = retry(tenant, delivery)
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    delivery.refresh_from_db()
    assert (delivery.lease_id, delivery.next_attempt_at) == (lease_id, ends)


def test_a_retry_loses_against_a_change_at_the_same_moment(tenant: Tenant, hook: str) -> None:
    delivery = make_delivery(tenant, hook, "retrying", attempts=3)
    stale = Delivery.objects.get(pk=delivery.pk)
    Delivery.objects.filter(pk=delivery.pk).update(status="delivered", attempts=4, next_attempt_at=None)
    with mock.patch("delivery.api.subscriptions.own_delivery", return_value=stale):
        assert retry(tenant, delivery).json()["code"] == "wrong_state"
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("delivered", 4)


def rest(hook: str, *, seconds: int = 200) -> datetime:
    until = timezone.now() + timedelta(seconds=seconds)
    Subscription.objects.filter(pk=hook).update(failures=40, circuit_step=6, circuit_open_until=until)
    return until


def test_deliveries_wait_for_an_endpoint_that_rests_and_say_so(tenant: Tenant, hook: str) -> None:
    until = rest(hook)
    later = until + timedelta(hours=1)
    due, soon = make_delivery(tenant, hook), make_delivery(tenant, hook, "retrying", attempts=1)
    much_later = make_delivery(tenant, hook, "retrying", attempts=3)
    Delivery.objects.filter(pk=much_later.pk).update(next_attempt_at=later)
    assert set(listed(tenant, hook, "?status=held")) == {str(due.pk), str(soon.pk)}
    assert listed(tenant, hook, "?status=pending") == []
    assert listed(tenant, hook, "?status=retrying") == [str(much_later.pk)]
    for delivery in (due, soon):
        shown = tenant.get(f"/api/v1/deliveries/{delivery.pk}").json()
        assert (shown["status"], shown["held_reason"]) == ("held", "circuit_open")
        assert shown["next_attempt_at"] == format_time(until)
    shown = tenant.get(f"/api/v1/deliveries/{much_later.pk}").json()
    assert (shown["status"], shown["held_reason"]) == ("retrying", None)
    assert shown["next_attempt_at"] == format_time(later)


def test_once_the_rest_is_over_nothing_is_held(tenant: Tenant, hook: str) -> None:
    rest(hook, seconds=-1)
    delivery = make_delivery(tenant, hook)
    assert listed(tenant, hook, "?status=held") == []
    assert listed(tenant, hook, "?status=pending") == [str(delivery.pk)]


def test_a_retry_is_not_held_by_an_endpoint_that_rests(tenant: Tenant, hook: str) -> None:
    rest(hook)
    delivery = make_delivery(tenant, hook, "dead_letter")
    shown = retry(tenant, delivery).json()
    assert (shown["status"], shown["held_reason"]) == ("pending", None)
    assert ManualRetry.objects.get().delivery_id == delivery.pk


def test_a_retry_of_a_paused_subscription_waits_for_its_turn(tenant: Tenant, hook: str) -> None:
    Subscription.objects.filter(pk=hook).update(status=SubscriptionStatus.PAUSED)
    shown = retry(tenant, make_delivery(tenant, hook, "dead_letter")).json()
    assert (shown["status"], shown["held_reason"], shown["next_attempt_at"]) == ("held", "paused", None)
    assert not ManualRetry.objects.exists()


def test_a_retry_wakes_the_sender_after_the_commit(
    tenant: Tenant, hook: str, django_capture_on_commit_callbacks: Any
) -> None:
    delivery = make_delivery(tenant, hook, "dead_letter")
    with mock.patch.object(webhook, "wake_sending") as wake:
        with django_capture_on_commit_callbacks(execute=True):
            retry(tenant, delivery)
            assert wake.call_count == 0
        assert wake.call_count == 1


def test_an_acknowledged_event_can_be_had_again(tenant: Tenant) -> None:
    inbox = tenant.get("/api/v1/subscriptions").json()["data"][0]["id"]
    delivery = make_delivery(tenant, inbox, "delivered")
    assert retry(tenant, delivery).status_code == 202
    leased = tenant.post("/api/v1/inbox/lease", {}).json()["events"]
    assert [event["id"] for event in leased] == [str(delivery.event_id)]
    assert retry(tenant, delivery).json()["code"] == "wrong_state", "a consumer has it"


def test_another_tenants_delivery_is_not_found(tenant: Tenant, other_tenant: Tenant, hook: str) -> None:
    delivery = make_delivery(tenant, hook, "dead_letter")
    assert other_tenant.get(f"/api/v1/deliveries/{delivery.pk}").status_code == 404
    assert retry(other_tenant, delivery).status_code == 404
    delivery.refresh_from_db()
    assert delivery.status == "dead_letter"


def test_deliveries_need_the_scope(db: None) -> None:
    reader = make_tenant(scopes=["events:read"])
    for method, path in (("GET", ""), ("POST", "/retry")):
        assert reader.request(method, f"/api/v1/deliveries/{uuid4()}{path}").status_code == 403


def test_a_disabled_subscription_holds_too(tenant: Tenant, hook: str) -> None:
    delivery = make_delivery(tenant, hook)
    Subscription.objects.filter(pk=hook).update(status=SubscriptionStatus.DISABLED)
    assert listed(tenant, hook, "?status=held") == [str(delivery.pk)]
