"""What became of events, as the console shows it: the face of an event is the outcome of its deliveries."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone
from uuid_utils.compat import uuid7

from console.event.json_tree import json_tree
from console.events.outcomes import outcome_of
from console.live.queries import LOOKS_BETWEEN, Watch, newest_events
from delivery.models import Attempt, Delivery, DeliveryStatus, RetryOutcomes, Subscription, SubscriptionStatus
from ingestion.models import Event, EventType
from organizations.models import Role
from tests.conftest import Tenant
from tests.factories import make_dead_letters, make_delivery, make_events, make_organization, make_webhook
from tests.support.people.console_data import browser_of, make_member, make_retry
from tests.support.people.console_site import actions, as_role

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
    assert re.search(
        r"<h1[^>]*>invoice.paid</h1>\s*<span id=\"outcome\"><span class=\"status dead_letter\">Dead letter</span>", page
    )
    assert Event.objects.count() == 1


def _event_page(client: Client, event_id: UUID, tenant: Tenant) -> str:
    text: str = client.get(f"/console/o/{tenant.organization.slug}/events/{event_id}/").content.decode()
    return text


# --- An endpoint that rests -------------------------------------------------------------------------------------------


@pytest.fixture
def resting(tenant: Tenant) -> Subscription:
    """With a delivery that waits for a retry in an hour, and one that is due."""
    now = timezone.now()
    found = make_webhook(
        tenant.organization,
        name="Ledger",
        failures=25,
        failing_since=now - timedelta(minutes=9),
        last_error="http_error",
        circuit_step=3,
        circuit_open_until=now + timedelta(minutes=5),
        circuit_probe_at=now + timedelta(minutes=2),
    )
    due, later = make_events(tenant.organization, 2, now - timedelta(minutes=1))
    make_delivery(due, found, DeliveryStatus.PENDING, next_attempt_at=now - timedelta(minutes=28))
    make_delivery(later, found, DeliveryStatus.RETRYING, next_attempt_at=now + timedelta(hours=1))
    return found


def test_an_endpoint_that_rests_is_called_so_everywhere(tenant: Tenant, resting: Subscription) -> None:
    site = as_role(tenant.organization, Role.MEMBER)
    detail = site.page(f"subscriptions/{resting.pk}/")
    assert re.search(r'class="status bad">resting<', detail)
    assert "The endpoint is resting" in detail
    assert "Try now" in detail
    event = Event.objects.earliest("pk")
    # Its own deliveries may have no attempt yet: what the endpoint answered is told with the issue.
    to_issues = f'<a href="/console/o/{tenant.organization.slug}/issues/">it answers with an error</a>'
    assert to_issues in detail
    assert to_issues in site.page(f"events/{event.pk}/")
    pages = {
        "subscriptions/": "resting",
        f"subscriptions/{resting.pk}/deliveries/": "endpoint resting",
        f"events/{event.pk}/": "the endpoint is resting",
        "?range=1h": "Resting after 25 failures in a row",
    }
    for path, words in pages.items():
        page = site.page(path)
        assert words in page, path
        assert "circuit" not in page.lower(), path
        # The delivery has been due for half an hour; what counts is when the endpoint is probed.
        assert "due now" not in page, path
        assert "28 min ago" not in page, path


def test_try_now_sends_one_delivery_although_the_endpoint_rests(tenant: Tenant, resting: Subscription) -> None:
    site = as_role(tenant.organization, Role.MEMBER)
    assert "One delivery is being tried now." in site.follow(f"subscriptions/{resting.pk}/try")
    assert actions(tenant.organization)[-1] == "subscription.tried"
    resting.refresh_from_db()
    assert resting.circuit_probe_at is not None
    assert resting.circuit_probe_at <= timezone.now()
    assert resting.circuit_open_until is not None, "a failure leaves the rest as it is"


def test_try_now_takes_what_waits_for_its_retry(tenant: Tenant, resting: Subscription) -> None:
    Delivery.objects.filter(status=DeliveryStatus.PENDING).delete()
    as_role(tenant.organization, Role.MEMBER).post(f"subscriptions/{resting.pk}/try")
    assert Delivery.objects.filter(next_attempt_at__lte=timezone.now()).count() == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"circuit_open_until": None}, "is not resting"), ({}, "Nothing waits for this endpoint")],
)
def test_try_now_says_what_stands_against_it(
    tenant: Tenant, resting: Subscription, changes: dict[str, Any], words: str
) -> None:
    Subscription.objects.filter(pk=resting.pk).update(**changes)
    Delivery.objects.all().delete()
    assert words in as_role(tenant.organization, Role.MEMBER).follow(f"subscriptions/{resting.pk}/try")


# --- Dead letters, and what does not arrive ---------------------------------------------------------------------------


def test_dead_letters_can_be_told_apart(tenant: Tenant, webhook: Subscription) -> None:
    first, second = make_events(tenant.organization, 2, timezone.now() - timedelta(hours=2))
    Event.objects.filter(pk=first.pk).update(subject="inv_1")
    Event.objects.filter(pk=second.pk).update(subject="s" * 500)
    for event, code in ((first, 500), (second, 401)):
        dead = make_delivery(event, webhook, DeliveryStatus.DEAD_LETTER, last_error="http_error", attempts=1)
        Attempt.objects.create(
            id=uuid7(), organization_id=webhook.organization_id, subscription_id=webhook.pk, delivery_id=dead.pk,
            number=1, started_at=timezone.now() - timedelta(minutes=7), duration_ms=9, status_code=code,
            error="http_error",
        )  # fmt: skip
    page = as_role(tenant.organization, Role.MEMBER).page(f"subscriptions/{webhook.pk}/dead-letters/")
    assert all(words in page for words in ("inv_1", "It answers 500", "It answers 401"))
    assert "s" * 100 not in page


def test_the_overview_is_content_only_when_everything_arrives(tenant: Tenant, webhook: Subscription) -> None:
    EventType.objects.create(organization=tenant.organization, name="a", first_seen_at=timezone.now(), count=1)
    site = as_role(tenant.organization, Role.MEMBER)
    assert "The webhook delivers, and there are no dead letters." in site.page("")
    Subscription.objects.filter(pk=webhook.pk).update(status=SubscriptionStatus.PAUSED)
    assert "Paused: its deliveries are held" in site.page("")
    Subscription.objects.filter(pk=webhook.pk).update(status=SubscriptionStatus.ACTIVE)
    for event in make_events(tenant.organization, 3, timezone.now()):
        make_delivery(event, webhook, DeliveryStatus.DEAD_LETTER)
    page = site.page("")
    assert "3 dead letters" in page
    assert f"subscriptions/{webhook.pk}/dead-letters/" in page


def test_a_long_string_is_folded() -> None:
    tree = json_tree(json.dumps({"short": "a", "long": "x" * 10_000}))
    assert tree is not None
    assert "10 002 characters" in tree
    assert tree.count("<details>") == 1


# --- Retries: how they go on ------------------------------------------------------------------------------------------


def test_a_job_says_how_the_retried_ones_ended(tenant: Tenant, webhook: Subscription) -> None:
    site = as_role(tenant.organization, Role.MEMBER)
    make_dead_letters(webhook, 10)
    job = make_retry(webhook)
    path = f"jobs/{job.pk}/"
    assert "0 of 10 tried again" in site.page(path)
    type(job).objects.update(status="done", done=10, finished_at=timezone.now())
    RetryOutcomes.objects.update(delivered=6, failed_again=3)
    page = site.page(path)
    assert "9 of 10 tried again" in page
    assert "Of 10: 6 delivered, 3 failed again, 1 waiting" in page
    assert "running" in page
    assert "Reload to see the progress" in page
    assert "a second so far" in site.page(f"{path}?part")
    Subscription.objects.filter(pk=webhook.pk).update(circuit_open_until=timezone.now() + timedelta(minutes=5))
    assert "The endpoint is resting" in site.page(path)
    RetryOutcomes.objects.update(delivered=7)
    over = site.page(path)
    assert "10 of 10 tried again" in over
    assert "?part" not in over
    assert "Time left" not in over


@pytest.mark.parametrize("page_of", ["event", "delivery"])
def test_a_page_is_renewed_when_something_changes(tenant: Tenant, webhook: Subscription, page_of: str) -> None:
    [event] = make_events(tenant.organization, 1, timezone.now() - timedelta(minutes=1))
    delivery = make_delivery(event, webhook, DeliveryStatus.PENDING, next_attempt_at=timezone.now())
    site = as_role(tenant.organization, Role.MEMBER)
    path = f"events/{event.pk}/" if page_of == "event" else f"subscriptions/{webhook.pk}/deliveries/{delivery.pk}/"
    seen = re.search(r'hx-get="(\?seen=\w+)"', site.page(path))
    assert seen
    assert site.get(path + seen[1]).status_code == 204
    Delivery.objects.filter(pk=delivery.pk).update(status=DeliveryStatus.DELIVERED, next_attempt_at=None)
    renewed = site.page(path + seen[1])
    assert "Delivered" in renewed
    assert 'hx-get="?seen' not in renewed


def test_the_page_says_why_an_event_did_not_go_to_the_others(tenant: Tenant) -> None:
    now = timezone.now()
    before, hour = {"created_at": now - timedelta(days=1)}, timedelta(hours=1)
    [event] = make_events(tenant.organization, 1, now - hour, data={"total": 1})
    got = make_webhook(tenant.organization, name="Got it", **before)
    make_delivery(event, got, DeliveryStatus.DELIVERED)
    make_webhook(tenant.organization, name="Users", event_types=["user.*"], **before)
    make_webhook(tenant.organization, name="Large", filter={"data.total": {"gt": 5}}, **before)
    make_webhook(tenant.organization, name="Late")
    make_webhook(tenant.organization, name="Changed", filter={"data.total": 1}, **before)
    make_webhook(tenant.organization, name="Deleted", status=SubscriptionStatus.DELETED, **before)
    make_webhook(make_organization(), name="Theirs")
    site = as_role(tenant.organization, Role.VIEWER)
    page = site.page(f"events/{event.pk}/")
    told = page.partition("Why it did not go elsewhere")[2].partition("</section>")[0]
    assert dict(re.findall(r">([^<>]+)</a>\s+<span class=\"tag\">webhook</span>\s+(.+?)\s*</li>", told)) == {
        "Users": "It takes only user.*.",
        "Large": "Its filter leaves this event out.",
        "Late": "It was created after the event. Replay the event to send it there.",
        "Changed": "It takes such events now, but did not when this one was processed. Replay the event to send it"
        " there.",
    }
    replay = as_role(tenant.organization, Role.MEMBER).page(f"events/{event.pk}/").partition("Replay to</label>")[2]
    assert re.findall(r"<option[^>]*>(.+?) \(webhook", replay) == ["Changed", "Got it", "Late"]


def test_the_page_says_that_nobody_wanted_an_event(tenant: Tenant) -> None:
    [event] = make_events(tenant.organization, 1, timezone.now() - timedelta(hours=1))
    Subscription.objects.filter(organization=tenant.organization).delete()
    site = as_role(tenant.organization, Role.MEMBER)
    assert "There is no subscription that could take this event" in site.page(f"events/{event.pk}/")
    make_webhook(tenant.organization, event_types=["user.*"])
    page = site.page(f"events/{event.pk}/")
    assert "No subscription wanted this event" in page
    assert "It takes only user.*." in page
