"""No tenant reaches another one's objects. New routes are covered by being in the URLconf."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from delivery.models import DEFAULT_INBOX, Delivery, DeliveryStatus, Replay, Subscription, SubscriptionKind
from delivery.operations import ReplayRequest, create_replay
from ingestion.operations import process_outbox
from organizations.models import Membership
from tests.conftest import Tenant
from tests.factories import TESTER, UserFactory, inbox_of, make_delivery, make_events, make_organization
from tests.support.people.portal_visits import enter, make_tagged
from tests.support.routes import api_paths, walk_routes

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOBODY = "01900000-0000-7000-8000-000000000000"


@pytest.mark.parametrize("path", [path for path in api_paths() if NOBODY in path])
def test_anothers_object_is_not_found(tenant: Tenant, other_tenant: Tenant, path: str) -> None:
    inbox_of(tenant.organization)
    event_id = tenant.post("/api/v1/events", {"type": "secret", "data": "of the tenant"}).json()["id"]
    process_outbox()
    subscription, replay = make_subscription_and_replay(tenant)
    objects = {
        "events": event_id,
        "api-keys": str(tenant.key.pk),
        "event-types": "secret",
        "subscriptions": str(subscription.pk),
        "deliveries": str(Delivery.objects.get(event_id=event_id, replay_id=None, subscription=subscription).pk),
        "replays": str(replay.pk),
        "jobs": str(replay.pk),
    }
    target = path.replace(NOBODY, objects[path.split("/")[3]])
    for method in METHODS:
        assert other_tenant.request(method, target).status_code in {404, 405}
    assert tenant.get("/api/v1/organization").status_code == 200
    assert tenant.get(f"/api/v1/replays/{replay.pk}").json()["status"] == "running"


@pytest.mark.parametrize("path", [path for path in api_paths() if NOBODY not in path])
def test_lists_hold_only_ones_own(tenant: Tenant, other_tenant: Tenant, path: str) -> None:
    inbox_of(tenant.organization)
    tenant.post("/api/v1/events", {"type": "secret", "data": "of the tenant"})
    process_outbox()
    subscription, replay = make_subscription_and_replay(tenant)
    answer = other_tenant.get(path).getvalue().decode()
    assert "of the tenant" not in answer
    assert tenant.key.public_id not in answer
    for private in (tenant.organization, subscription, replay):
        assert str(private.pk) not in answer


def test_a_cursor_of_another_tenant_shows_nothing_of_it(tenant: Tenant, other_tenant: Tenant) -> None:
    for _ in range(2):
        tenant.post("/api/v1/events", {"type": "secret", "data": 1})
    cursor = tenant.get("/api/v1/events?limit=1").json()["next_cursor"]
    assert other_tenant.get(f"/api/v1/events?cursor={cursor}").json()["data"] == []


def test_an_ack_of_anothers_event_changes_nothing(tenant: Tenant, other_tenant: Tenant) -> None:
    event_id = tenant.post("/api/v1/events", {"type": "secret", "data": 1}).json()["id"]
    process_outbox()
    assert other_tenant.post("/api/v1/inbox/ack", {"event_ids": [event_id]}).json()["unknown"] == [event_id]
    assert len(tenant.get("/api/v1/inbox").json()["data"]) == 1


def make_subscription_and_replay(tenant: Tenant) -> tuple[Subscription, Replay]:
    """The inbox `default`, which has a delivery of each processed event, and a running replay to it."""
    inbox = Subscription.objects.get(organization=tenant.organization, kind=SubscriptionKind.INBOX, name=DEFAULT_INBOX)
    now = timezone.now()
    criteria = ReplayRequest(received_after=now - timedelta(hours=1), received_before=now)
    return inbox, create_replay(subscription=inbox, criteria=criteria, actor=TESTER, now=now)


def people_paths() -> list[str]:
    found = [
        path for path in walk_routes(get_resolver().url_patterns, "/") if path.startswith(("/admin/", "/console/"))
    ]
    plain = [re.sub(r"<[^>]+>", NOBODY, path) for path in found]
    return sorted(path for path in plain if "(?P" not in path and "sign-in" not in path and "login" not in path)


@pytest.mark.parametrize("path", people_paths())
def test_a_stranger_sees_no_page(tenant: Tenant, path: str) -> None:
    for method in ("GET", "POST"):
        answer = tenant.client.generic(method, path)
        assert answer.status_code in {302, 403, 404, 405} or path in {"/admin/jsi18n/"}


@pytest.mark.parametrize("path", people_paths())
def test_a_member_of_another_organization_sees_nothing_of_it(tenant: Tenant, path: str) -> None:
    event_id = tenant.post("/api/v1/events", {"type": "secret", "data": "of the tenant"}).json()["id"]
    process_outbox()
    member = UserFactory.create()
    Membership.objects.create(organization=make_organization(), user=member, role="owner")
    client = Client()
    client.force_login(member, backend="django.contrib.auth.backends.ModelBackend")
    for target in {path, path.replace(NOBODY, event_id), path.replace(NOBODY, str(tenant.organization.pk))}:
        page = client.get(target).content.decode()
        assert "of the tenant" not in page
        assert tenant.organization.name not in page
        assert tenant.key.public_id not in page


# What anybody sees.
PUBLIC = re.compile(
    r"/(docs/errors|llms\.txt|api/(docs|schema)|health/.*|metrics|console/sign-(in|out)/|portal/.*"
    r"|account/(sign-in|password/reset)/.*|admin/(login|logout|jsi18n|password-reset)/)?"
)


def test_a_portal_reaches_nothing_but_what_has_its_tag(tenant: Tenant, other_tenant: Tenant) -> None:
    """Every URL that there is, with the ids of what another customer and another organization have."""
    mine = make_tagged(tenant, name="of-this-customer")
    own = make_deliveries(mine)
    ids = [str(own.event_id), str(tenant.organization.pk), tenant.organization.slug, str(tenant.key.pk)]
    kept = []
    for owner in (tenant, other_tenant):
        theirs = make_tagged(owner, tag="customer-43", name="of-another-customer", url="https://other.example.com/")
        delivery = make_deliveries(theirs)
        ids += [str(theirs.pk), str(delivery.pk)]
        kept += [theirs, delivery]
    visitor = enter(tenant)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', visitor.get().content.decode())
    assert token
    for path in walked_with(ids, str(mine.pk)):
        for method in ("GET", "POST"):
            answer = visitor.client.generic(
                method, path, f"csrfmiddlewaretoken={token[1]}", content_type="application/x-www-form-urlencoded"
            )
            shown = b"" if answer.streaming else answer.content
            assert b"of-another-customer" not in shown, path
            assert b"other.example.com" not in shown, path
            assert tenant.key.public_id.encode() not in shown, path
            if not PUBLIC.fullmatch(path):
                assert answer.status_code in {302, 401, 403, 404, 405}, f"{path}: {answer.status_code}"
                assert answer.status_code != 302 or "sign-in" in answer["Location"] or "login" in answer["Location"]
            elif path.startswith("/portal/subscriptions/") and any(each in path for each in ids):
                assert answer.status_code in {404, 405}, f"{path}: {answer.status_code}"
        if path == "/portal/sign-out":
            visitor = enter(tenant)
            token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', visitor.get().content.decode())
            assert token
    for row in kept:
        before = {name: value for name, value in vars(row).items() if not name.startswith("_")}
        row.refresh_from_db()
        assert {name: vars(row)[name] for name in before} == before


def make_deliveries(subscription: Subscription) -> Delivery:
    [event] = make_events(subscription.organization, 1, data="of-another-customer")
    return make_delivery(event, subscription, DeliveryStatus.DEAD_LETTER, attempts=2, last_error="timeout")


def walked_with(ids: list[str], own: str) -> list[str]:
    """Every path with each of the ids; where there are several parameters, the first may be `own`."""
    found = set()
    for route in walk_routes(get_resolver().url_patterns, "/"):
        path = re.sub(r"<[^>]+>", NOBODY, route)
        if "(?P" in path or "/stream" in path:
            continue
        found |= {path.replace(NOBODY, each) for each in ids}
        if path.count(NOBODY) > 1:
            found |= {path.replace(NOBODY, own, 1).replace(NOBODY, each) for each in ids}
    return sorted(found)
