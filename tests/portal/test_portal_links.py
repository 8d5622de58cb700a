"""Links into the portal: who can make them, that each works once, and how what they open ends."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.groups import GROUPS
from lifecycle.retention.running import apply_retention
from organizations.keys.authentication import forget_cached_keys
from organizations.models import AuditEntry
from organizations.operations import revoke_key, suspend_organization
from portal.links import end_all, state_of
from portal.models import PortalLink
from tests.conftest import Tenant, make_tenant
from tests.factories import TESTER, UserFactory
from tests.support.people.console_data import browser_of
from tests.support.people.portal_visits import TAG, enter, make_link, make_tagged


def test_a_link_opens_the_portal_once_and_shows_what_has_its_tag(tenant: Tenant, settings: Any) -> None:
    settings.PUBLIC_URL = "https://events.example.com"
    make_tagged(tenant, name="Mine")
    make_tagged(tenant, tag="customer-43", name="Of another")
    answer = tenant.post("/api/v1/portal-links", {"tag": TAG, "permissions": ["read"], "expires_in": 600})
    assert answer.status_code == 201
    assert answer.json()["url"].startswith("https://events.example.com/portal/open/")
    link = PortalLink.objects.get()
    assert link.expires_at - link.created_at == timedelta(minutes=10)
    path = answer.json()["url"].removeprefix("https://events.example.com")
    browser = Client()
    assert browser.head(path).status_code == 405
    assert browser.get(path, headers={"Sec-Purpose": "prefetch"}).status_code == 503
    page = browser.get(path, follow=True).content.decode()
    assert "Mine" in page
    assert "Of another" not in page
    again = Client().get(path)
    assert again.status_code == 410
    assert "used already" in again.content.decode()
    assert "get a new link" in again.content.decode()
    assert "Mine" in browser.get("/portal/").content.decode()
    made, opened = AuditEntry.objects.filter(action__startswith="portal_link").order_by("pk")
    assert (made.action, made.actor_kind) == ("portal_link.created", "api_key")
    assert (opened.action, opened.actor_kind, opened.actor_label) == ("portal_link.opened", "portal", f"portal: {TAG}")


@pytest.mark.django_db(transaction=True)
def test_of_several_who_open_it_at_the_same_time_one_gets_in() -> None:
    path = make_link(make_tenant())

    def open_it(_: int) -> int:
        try:
            return Client().get(path).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(open_it, range(8))) == [302] + [410] * 7


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/tag"),
        ({"tag": "a", "subscriptions": ["01900000-0000-7000-8000-000000000000"]}, "/tag"),
        ({"subscriptions": ["01900000-0000-7000-8000-000000000000"]}, "/subscriptions/0"),
        ({"tag": " a"}, "/tag"),
        ({"tag": "a\x00"}, "/tag"),
        ({"tag": "a", "expires_in": 86_401}, "/expires_in"),
        ({"tag": "a", "expires_in": 0}, "/expires_in"),
        ({"tag": "a", "permissions": []}, "/permissions"),
        ({"tag": "a", "permissions": ["own"]}, "/permissions/0"),
        ({"tag": "a", "tags": []}, "/tags"),
        ({"tag": "a", "filter": {"data.x": {"near": 1}}}, "/filter/data.x/near"),
    ],
)
def test_what_is_wrong_is_named(tenant: Tenant, body: dict[str, Any], pointer: str) -> None:
    answer = tenant.post("/api/v1/portal-links", body)
    assert answer.status_code == 422, answer.content
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert not PortalLink.objects.exists()


def test_only_ones_own_subscriptions_and_the_right_scope(tenant: Tenant, other_tenant: Tenant) -> None:
    other = make_tagged(other_tenant)
    assert tenant.post("/api/v1/portal-links", {"subscriptions": [str(other.pk)]}).status_code == 422
    poor = make_tenant(scopes=["events:read"])
    assert poor.post("/api/v1/portal-links", {"tag": TAG}).status_code == 403


def test_a_link_for_certain_subscriptions_shows_these_and_adds_none(tenant: Tenant) -> None:
    mine, other = make_tagged(tenant, name="Mine"), make_tagged(tenant, name="Of another")
    visitor = enter(tenant, subscriptions=[str(mine.pk)])
    page = visitor.get().content.decode()
    assert "Mine" in page
    assert "Of another" not in page
    assert visitor.get(f"subscriptions/{other.pk}/").status_code == 404
    assert visitor.get("subscriptions/new").status_code == 403


def test_links_and_sessions_end_in_time_and_their_rows_leave(tenant: Tenant) -> None:
    path, visitor = make_link(tenant, expires_in=60), enter(tenant, expires_in=60)
    with time_machine.travel(timezone.now() + timedelta(seconds=61), tick=False):
        assert "has expired" in Client().get(path).content.decode()
        over = visitor.get()
        assert over.status_code == 403
        assert "Your session has ended" in over.content.decode()
    apply_retention(now=timezone.now() + timedelta(hours=23))
    assert PortalLink.objects.count() == 2
    apply_retention(now=timezone.now() + timedelta(hours=25))
    assert not PortalLink.objects.exists()
    assert "does not work" in Client().get(path).content.decode()


def test_a_revoked_key_the_organization_and_the_visitor_can_end_it(tenant: Tenant) -> None:
    first, second = enter(tenant), enter(tenant)
    assert "signed out" in first.send("sign-out").content.decode()
    assert first.get().status_code == 403
    assert second.get().status_code == 200
    waiting = make_link(tenant)
    assert end_all(organization=tenant.organization, actor=TESTER, now=timezone.now()) == 2
    assert second.get().status_code == 403
    assert Client().get(waiting).status_code == 410
    third, path = enter(tenant), make_link(tenant)
    revoke_key(key=tenant.key, actor=TESTER)
    forget_cached_keys()
    assert third.get().status_code == 403
    assert Client().get(path).status_code == 410


def test_in_a_suspended_organization_it_only_shows(tenant: Tenant) -> None:
    webhook, visitor = make_tagged(tenant, name="Mine"), enter(tenant)
    suspend_organization(organization=tenant.organization, reason="unpaid bills", actor=TESTER)
    page = visitor.get(f"subscriptions/{webhook.pk}/").content.decode()
    assert "is suspended" in page
    assert "unpaid" not in page
    assert "Pause" not in page
    assert visitor.send(f"subscriptions/{webhook.pk}/pause").status_code == 403
    webhook.refresh_from_db()
    assert webhook.status == "active"


def test_an_organization_has_so_many_links(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.links.MAX_LINKS", 1)
    make_link(tenant)
    assert tenant.post("/api/v1/portal-links", {"tag": TAG}).json()["code"] == "limit_reached"


@pytest.mark.parametrize("group", GROUPS)
def test_staff_see_links_and_sessions_and_change_none(tenant: Tenant, group: str) -> None:
    make_tagged(tenant, name="Mine")
    opened = make_link(tenant)
    Client().get(opened)
    make_link(tenant)
    user = UserFactory.create(is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    staff = browser_of(user)
    page = staff.get("/admin/portal/portallink/").content.decode()
    for told in (TAG, "session open", "not opened yet"):
        assert told in page, told
    used, _ = PortalLink.objects.order_by("pk")
    path = f"/admin/portal/portallink/{used.pk}/change/"
    shown = staff.get(path)
    assert shown.status_code == 200
    assert "hash" not in shown.content.decode()
    refused = [staff.post(path).status_code, staff.get("/admin/portal/portallink/add/").status_code,
               staff.post(path.replace("change", "delete")).status_code]  # fmt: skip
    assert refused == [403] * 3
    with time_machine.travel(used.expires_at):
        assert state_of(used, now=timezone.now()) == "expired"
    end_all(organization=tenant.organization, actor=TESTER, now=timezone.now())
    assert "session open" not in staff.get("/admin/portal/portallink/").content.decode()
