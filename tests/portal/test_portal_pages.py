"""What can be seen and done in the portal, and by whom."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from core.secrets import encrypt_secret
from delivery.models import Delivery, DeliveryStatus, Subscription
from delivery.operations import subscription_fields
from delivery.webhooks import guard
from organizations.audit import ActorKind
from organizations.models import AuditEntry
from portal.pages import subscriptions as pages
from tests.conftest import Tenant
from tests.factories import make_delivery, make_events
from tests.support.people.console_data import make_attempts
from tests.support.people.portal_visits import TAG, enter, make_tagged

WHAT_MANAGES = ("edit", "delete", "pause", "resume", "test", "secret", "secret/rotate", "dead-letters/retry")


@pytest.fixture(autouse=True)
def _any_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)


def make_dead(webhook: Subscription) -> Delivery:
    [event] = make_events(webhook.organization, 1, type="order.shipped")
    dead = make_delivery(event, webhook, DeliveryStatus.DEAD_LETTER, attempts=2, last_error="http_error")
    make_attempts(dead, timezone.now())
    return dead


def test_who_manages_adds_changes_holds_and_keeps_the_filter_of_the_organization(tenant: Tenant) -> None:
    visitor = enter(tenant, filter={"data.customer": "42"})
    new = {"url": "https://example.com/hooks", "name": "Shop", "event_types": "order.*", "description": ""}
    assert visitor.send("subscriptions/new", **{**new, "url": "ftp://example.com"}).status_code == 422
    made = visitor.send("subscriptions/new", **new)
    webhook = Subscription.objects.get(name="Shop")
    assert made.url == f"/portal/subscriptions/{webhook.pk}/?done=created"
    assert (webhook.tags, webhook.filter, webhook.event_types) == ([TAG], {"data.customer": "42"}, ["order.*"])
    one = f"subscriptions/{webhook.pk}/"
    shown = visitor.get(one).content.decode()
    assert "data.customer" not in shown
    assert "chooses which events" in shown
    changed = {**new, "event_types": "order.paid\norder.shipped", "tags": "customer-43", "filter": "{}"}
    visitor.send(f"{one}edit", f"{one}edit", **changed)
    webhook.refresh_from_db()
    assert (webhook.tags, webhook.filter, webhook.event_types) == (
        [TAG], {"data.customer": "42"}, ["order.paid", "order.shipped"],
    )  # fmt: skip
    secret = re.search(r"whsec_[\w+/=]+", visitor.send(f"{one}secret").content.decode())
    assert secret
    visitor.send(f"{one}secret/rotate", overlap="0")
    assert secret[0] not in visitor.send(f"{one}secret").content.decode()
    for action, status in (("pause", "paused"), ("resume", "active"), ("delete", "deleted")):
        visitor.send(f"{one}{action}")
        webhook.refresh_from_db()
        assert webhook.status == status
    entries = AuditEntry.objects.filter(target_id=str(webhook.pk)).values_list("actor_kind", "action")
    assert {kind for kind, _ in entries} == {ActorKind.PORTAL}
    assert {action for _, action in entries} == {
        "subscription.created", "subscription.updated", "subscription.secret_shown", "subscription.secret_rotated",
        "subscription.paused", "subscription.resumed", "subscription.deleted",
    }  # fmt: skip


def test_why_a_delivery_failed_and_another_try(tenant: Tenant) -> None:
    webhook = make_tagged(tenant, name="Shop", failing_since=timezone.now() - timedelta(hours=1), failures=3)
    dead, visitor = make_dead(webhook), enter(tenant)
    assert "failing" in visitor.get().content.decode()
    one = f"subscriptions/{webhook.pk}/"
    listed = visitor.get(f"{one}deliveries/?status=dead_letter").content.decode()
    assert f"/portal/{one}deliveries/{dead.pk}/" in listed
    assert "Retry all dead letters" in listed
    page = visitor.get(f"{one}deliveries/{dead.pk}/").content.decode()
    assert "http_error" in page
    assert "&lt;h1&gt;Sorry" in page
    assert visitor.send(f"{one}deliveries/{dead.pk}/retry").url.endswith("?done=retried")
    dead.refresh_from_db()
    assert dead.status in (DeliveryStatus.RETRYING, DeliveryStatus.PENDING)
    assert visitor.send(f"{one}dead-letters/retry").status_code == 302


def test_an_endpoint_that_rests_says_why_without_a_way_into_the_console(tenant: Tenant) -> None:
    rests_until = timezone.now() + timedelta(minutes=5)
    webhook = make_tagged(tenant, name="Shop", last_error="http_error", failures=25, circuit_open_until=rests_until)
    (event,) = make_events(tenant.organization, 1)
    held = make_delivery(event, webhook, DeliveryStatus.PENDING, next_attempt_at=timezone.now())
    page = enter(tenant).get(f"subscriptions/{webhook.pk}/deliveries/{held.pk}/").content.decode()
    assert re.search(r"The last error:\s+it answers with an error\.", page)
    assert "/console/" not in page


def test_who_only_reads_changes_nothing(tenant: Tenant) -> None:
    webhook = make_tagged(tenant, name="Shop", secret=encrypt_secret("whsec_abcdef"))
    dead, visitor = make_dead(webhook), enter(tenant, permissions=["read"])
    one = f"subscriptions/{webhook.pk}/"
    for path in ("", one, f"{one}deliveries/", f"{one}deliveries/{dead.pk}/"):
        page = visitor.get(path)
        assert page.status_code == 200
        # The form that signs out, and no other.
        assert page.content.decode().count("<form") == 1
    before = Subscription.objects.values().get(pk=webhook.pk)
    refused = [f"{one}{action}" for action in (*WHAT_MANAGES, f"deliveries/{dead.pk}/retry")]
    for path in [*refused, "subscriptions/new"]:
        assert visitor.get(path).status_code in {403, 405}
        assert visitor.send(path, url="https://example.com/", event_types="*", overlap="0").status_code == 403
    assert Subscription.objects.values().get() == before
    assert Delivery.objects.get().status == DeliveryStatus.DEAD_LETTER


def test_a_form_of_another_page_changes_nothing(tenant: Tenant) -> None:
    webhook, visitor = make_tagged(tenant), enter(tenant)
    [theirs] = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', enter(tenant).get().content.decode()))
    for token in ("", "x", theirs, "ä"):
        answer = visitor.client.post(f"/portal/subscriptions/{webhook.pk}/pause", {"csrfmiddlewaretoken": token})
        assert answer.status_code == 403
        assert "another session" in answer.content.decode()
    webhook.refresh_from_db()
    assert webhook.status == "active"


def test_what_somebody_else_has_changed_meanwhile_is_said(tenant: Tenant) -> None:
    webhook, visitor = make_tagged(tenant, url="https://example.com/a"), enter(tenant)
    path = f"subscriptions/{webhook.pk}/edit"
    version = re.search(r'name="version" value="([^"]+)"', visitor.get(path).content.decode())
    assert version
    Subscription.objects.update(url="https://example.com/b")
    values = {"url": "https://example.com/c", "event_types": "*"}
    refused = visitor.send(path, version=version[1], **values)
    assert "Somebody else has changed this" in refused.content.decode()
    assert Subscription.objects.get().url == "https://example.com/b"
    fresh = re.search(r'name="version" value="([^"]+)"', refused.content.decode())
    assert fresh
    assert visitor.send(path, version=fresh[1], **values).status_code == 302


def test_one_tag_has_so_many_endpoints(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_OF_TAG", 1)
    make_tagged(tenant)
    answer: Any = enter(tenant).get("subscriptions/new")
    assert answer.status_code == 409
