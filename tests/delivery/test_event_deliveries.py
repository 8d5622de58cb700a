"""What became of events, in the list of events: counts by the status that is shown, and filters."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from core.times import format_time
from delivery import queries
from delivery.api import event_deliveries
from delivery.models import Attempt, Delivery, DeliveryStatus, Subscription
from ingestion.models import Event
from tests.conftest import Tenant
from tests.factories import START, make_delivery, make_events, make_webhook

NONE = dict.fromkeys(DeliveryStatus.values, 0)


@pytest.fixture
def webhook(tenant: Tenant) -> Subscription:
    return make_webhook(tenant.organization)


def walk(tenant: Tenant, path: str) -> list[dict[str, Any]]:
    """The rows of all pages."""
    found: list[dict[str, Any]] = []
    cursor = ""
    for _ in range(100):
        page = tenant.get(f"{path}{cursor}").json()
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"
    raise AssertionError("the walk does not end")


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def shown(events: list[Event]) -> list[str]:
    """As a list has them."""
    return [str(event.pk) for event in reversed(events)]


def test_events_say_how_many_deliveries_have_each_status(tenant: Tenant, webhook: Subscription) -> None:
    paused = make_webhook(tenant.organization, status="paused")
    events = make_events(tenant.organization, 3)
    make_delivery(events[0], webhook, DeliveryStatus.DELIVERED)
    make_delivery(events[0], paused, DeliveryStatus.DEAD_LETTER)
    make_delivery(events[1], webhook, DeliveryStatus.RETRYING, next_attempt_at=timezone.now())
    make_delivery(events[1], paused, DeliveryStatus.PENDING, next_attempt_at=timezone.now())
    listed = tenant.get("/api/v1/events").json()["data"]
    assert [event["deliveries"] for event in listed] == [
        NONE,
        {**NONE, "retrying": 1, "held": 1},
        {**NONE, "delivered": 1, "dead_letter": 1},
    ]
    one = tenant.get(f"/api/v1/events/{events[1].pk}").json()
    assert one["delivery_counts"] == {**NONE, "retrying": 1, "held": 1}
    assert len(one["deliveries"]) == 2


def test_counting_costs_the_same_for_a_page_as_for_one(tenant: Tenant, webhook: Subscription) -> None:
    def queries_of(limit: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert len(tenant.get(f"/api/v1/events?limit={limit}").json()["data"]) == limit
        # Not those of the key, which is read again when its cache has had its time.
        return sum("ingestion_event" in query["sql"] or "delivery_delivery" in query["sql"] for query in captured)

    for event in make_events(tenant.organization, 20):
        make_delivery(event, webhook, DeliveryStatus.PENDING, next_attempt_at=timezone.now())
    assert queries_of(1) == queries_of(20) > 1


@pytest.mark.parametrize("looked_at", [2, 1_000])
def test_events_are_found_by_their_deliveries(
    tenant: Tenant, other_tenant: Tenant, webhook: Subscription, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    monkeypatch.setattr(event_deliveries, "LOOKED_AT", looked_at)
    other = make_webhook(tenant.organization)
    events = make_events(tenant.organization, 12)
    for number, event in enumerate(events):
        dead = number % 3 == 0
        make_delivery(event, webhook, DeliveryStatus.DEAD_LETTER if dead else DeliveryStatus.DELIVERED)
        if number % 4 == 0:
            make_delivery(event, other, DeliveryStatus.PENDING, next_attempt_at=timezone.now())
    path = "/api/v1/events?limit=2&"
    assert ids(walk(tenant, f"{path}delivery_status=dead_letter")) == shown(events[::3])
    assert ids(walk(tenant, f"{path}subscription={other.pk}")) == shown(events[::4])
    assert ids(walk(tenant, f"{path}subscription={webhook.pk}&delivery_status=pending")) == []
    assert ids(walk(tenant, f"{path}delivery_status=pending")) == shown(events[::4])
    assert ids(walk(tenant, f"{path}delivery_status=held")) == []
    Subscription.objects.filter(pk=other.pk).update(status="paused")
    assert ids(walk(tenant, f"{path}delivery_status=held&type=invoice.*")) == shown(events[::4])
    assert ids(walk(tenant, f"{path}delivery_status=held&type=other")) == []
    middle = format_time(START + timedelta(milliseconds=6))
    assert ids(walk(tenant, f"{path}delivery_status=dead_letter&received_after={middle}")) == shown(events[6::3])
    assert ids(walk(tenant, f"{path}delivery_status=dead_letter&received_before={middle}")) == shown(events[:6:3])
    assert tenant.get(f"{path}subscription={make_webhook(other_tenant.organization).pk}").status_code == 404


@pytest.mark.parametrize("query", ["delivery_status=x", "subscription=x", "delivery_status=", "subscription=&x=1"])
def test_a_wrong_filter_is_named(tenant: Tenant, query: str) -> None:
    answer = tenant.get(f"/api/v1/events?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] in ("/delivery_status", "/subscription", "/x")


@pytest.mark.parametrize("looked_at", [3, 1_000])
def test_deliveries_are_found_by_what_went_wrong(
    tenant: Tenant, webhook: Subscription, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    monkeypatch.setattr(queries, "LOOKED_AT", looked_at)
    events = make_events(tenant.organization, 5) + make_events(tenant.organization, 5, at=START + timedelta(hours=1))
    Event.objects.filter(pk=events[7].pk).update(type="order.placed")
    made = [
        make_delivery(event, webhook, DeliveryStatus.DEAD_LETTER, last_error="timeout" if number % 4 else "http_error")
        for number, event in enumerate(events)
    ]
    answered(made[4], 503)
    answered(made[9], 404)
    path = f"/api/v1/subscriptions/{webhook.pk}/deliveries?limit=2&"

    def found(query: str) -> list[int]:
        places = {str(delivery.pk): number for number, delivery in enumerate(made)}
        return [places[pk] for pk in ids(walk(tenant, path + query))]

    assert found("error=http_error") == [8, 4, 0]
    assert found("status_code=503") == [4]
    assert found("event_type=order.*") == [7]
    assert found("event_type=order.placed&status=delivered") == []
    hour = format_time(START + timedelta(hours=1))
    assert found(f"received_after={hour}&error=http_error") == [8]
    assert found(f"received_before={hour}&status=dead_letter") == [4, 3, 2, 1, 0]
    refused = tenant.get(f"{path}status_code=abc")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/status_code")


def answered(delivery: Delivery, status: int) -> None:
    Attempt.objects.create(
        id=uuid7(),
        organization_id=delivery.organization_id,
        subscription_id=delivery.subscription_id,
        delivery_id=delivery.pk,
        number=1,
        started_at=START,
        duration_ms=1,
        status_code=status,
    )
