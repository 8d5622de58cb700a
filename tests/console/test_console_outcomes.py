"""What became of events, as the console shows it: the face of an event is the outcome of its deliveries."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from console.events.outcomes import outcome_of
from console.live.queries import LOOKS_BETWEEN, Watch, newest_events
from delivery.models import Delivery, DeliveryStatus, Subscription, SubscriptionStatus
from ingestion.models import Event
from organizations.models import Role
from tests.conftest import Tenant
from tests.factories import make_delivery, make_events, make_webhook
from tests.support.people.console_data import browser_of, make_member

pytestmark = pytest.mark.slow

NONE = dict.fromkeys(DeliveryStatus.values, 0)


@pytest.fixture
def webhook(tenant: Tenant) -> Subscription:
    return make_webhook(tenant.organization, name="Billing")


@pytest.fixture
def list_of(tenant: Tenant) -> Callable[[str], dict[str, str]]:
    """The outcome of each event of the list with this query."""
    client = browser_of(make_member(tenant.organization, Role.MEMBER))

    def look(query: str) -> dict[str, str]:
        page = client.get(f"/console/o/{tenant.organization.slug}/events/?{query}").content.decode()
        return dict(re.findall(r'<tr data-id="([^"]+)">.*?<span class="status [a-z_]+">([^<]+)<', page, re.DOTALL))

    return look


@pytest.mark.parametrize(
    ("status", "counts", "text"),
    [
        ("processed", {}, "No subscriber"),
        ("processed", {"delivered": 2}, "Delivered"),
        ("processed", {"delivered": 2, "retrying": 1}, "Retrying 1 of 3"),
        ("processed", {"pending": 1, "held": 1}, "Held 1 of 2"),
        ("processed", {"dead_letter": 1, "held": 1, "delivered": 1}, "Dead letter 1 of 3"),
        ("accepted", {}, "Accepted"),
        ("failed", {}, "Failed"),
        ("scheduled", {}, "Scheduled"),
        ("cancelled", {"delivered": 1}, "Delivered"),
    ],
)
def test_what_needs_somebody_comes_first(status: str, counts: dict[str, int], text: str) -> None:
    assert outcome_of(status, {**NONE, **counts}).text == text


def test_the_list_tells_which_events_did_not_arrive(
    tenant: Tenant, webhook: Subscription, list_of: Callable[[str], dict[str, str]]
) -> None:
    dead, late, held, done, alone = make_events(tenant.organization, 5, timezone.now() - timedelta(minutes=1))
    paused = make_webhook(tenant.organization, status=SubscriptionStatus.PAUSED)
    make_delivery(dead, webhook, DeliveryStatus.DEAD_LETTER, last_error="timeout")
    make_delivery(dead, paused, DeliveryStatus.DELIVERED)
    make_delivery(late, webhook, DeliveryStatus.RETRYING, next_attempt_at=timezone.now() + timedelta(hours=1))
    make_delivery(held, paused, DeliveryStatus.PENDING, next_attempt_at=timezone.now())
    make_delivery(done, webhook, DeliveryStatus.DELIVERED)
    assert list_of("") == {
        str(dead.pk): "Dead letter 1 of 2",
        str(late.pk): "Retrying",
        str(held.pk): "Held",
        str(done.pk): "Delivered",
        str(alone.pk): "No subscriber",
    }
    for query, found in (
        ("delivery_status=dead_letter", [dead]),
        ("outcome=held", [held]),
        ("delivery_status=delivered", [done, dead]),
        ("delivery_status=pending", []),
        ("delivery_status=retrying&type=user.*", []),
        (f"delivery_status=delivered&before={done.pk}", [dead]),
    ):
        assert list(list_of(query)) == [str(event.pk) for event in found], query


def test_a_filter_by_outcome_goes_on_where_it_has_looked_to(
    tenant: Tenant, webhook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.api.event_deliveries.LOOKED_AT", 2)
    events = make_events(tenant.organization, 5, timezone.now() - timedelta(minutes=1))
    for event in events:
        make_delivery(event, webhook, DeliveryStatus.DEAD_LETTER)
    client = browser_of(make_member(tenant.organization, Role.MEMBER))
    seen, query = [], "?delivery_status=dead_letter"
    for _ in range(9):
        page = client.get(f"/console/o/{tenant.organization.slug}/events/{query}").content.decode()
        seen += re.findall(r'<tr data-id="([^"]+)"', page)
        older = re.search(r'href="(\?[^"]+before=[^"]+)"', page)
        if older is None:
            break
        query = older[1].replace("&amp;", "&")
    assert seen == [str(event.pk) for event in reversed(events)]


def test_live_goes_on_watching_what_is_not_over(tenant: Tenant, webhook: Subscription) -> None:
    [event] = make_events(tenant.organization, 1, timezone.now() - timedelta(minutes=1))
    delivery = make_delivery(event, webhook, DeliveryStatus.PENDING, next_attempt_at=timezone.now())
    watch = Watch(newest_events(tenant.organization, "", now=timezone.now()).rows)
    Delivery.objects.filter(pk=delivery.pk).update(status=DeliveryStatus.DELIVERED, next_attempt_at=None)
    looks: list[Any] = [[row.outcome.text for row in watch.renew([])] for _ in range(LOOKS_BETWEEN + 1)]
    assert looks == [["Pending"]] * (LOOKS_BETWEEN - 1) + [["Delivered"], []]


def test_the_event_page_says_first_what_became_of_it(tenant: Tenant, webhook: Subscription) -> None:
    [event] = make_events(tenant.organization, 1, timezone.now() - timedelta(minutes=1))
    make_delivery(event, webhook, DeliveryStatus.DEAD_LETTER, last_error="timeout")
    page = _event_page(browser_of(make_member(tenant.organization, Role.VIEWER)), event.pk, tenant)
    assert re.search(r"<h1[^>]*>invoice.paid</h1>\s*<span class=\"status dead_letter\">Dead letter</span>", page)
    assert Event.objects.count() == 1


def _event_page(client: Client, event_id: UUID, tenant: Tenant) -> str:
    text: str = client.get(f"/console/o/{tenant.organization.slug}/events/{event_id}/").content.decode()
    return text
