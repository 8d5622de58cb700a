"""The search box: what it finds, of whom, for whom, how far it looks, and what it never shows."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.groups import SUPPORT
from console.search import finding, scanning
from delivery.models import Attempt
from ingestion.intake import rejections
from organizations.models import Role
from tests.conftest import Tenant
from tests.factories import UserFactory, make_organization
from tests.support.people.console_data import Scene, browser_of, make_member, make_retry, make_scene

pytestmark = pytest.mark.slow

MAX_QUERIES = 12


@pytest.fixture
def scene(tenant: Tenant) -> Scene:
    return make_scene(tenant)


@pytest.fixture
def member(scene: Scene) -> Client:
    return browser_of(make_member(scene.organization, Role.MEMBER))


def staff(*groups: str, **values: Any) -> Client:
    user = UserFactory.create(is_staff=True, **values)
    user.groups.set(Group.objects.filter(name__in=groups))
    return browser_of(user)


def find(client: Client, where: Scene | None, q: str, **more: str) -> str:
    path = f"/console/o/{where.organization.slug}/search/" if where else "/console/search/"
    with CaptureQueriesContext(connection) as queries:
        page = client.get(path, {"q": q, **more})
    assert page.status_code == 200, page.status_code
    # Savepoints are the test's.
    assert len([each for each in queries if "SAVEPOINT" not in each["sql"]]) <= MAX_QUERIES
    text: str = page.content.decode()
    return text


def links(page: str) -> list[str]:
    """Where the results lead."""
    found = re.findall(r"<a\s([^>]*\bdata-row\b[^>]*)>", page)
    return [re.search(r'href="([^"]+)"', each)[1] for each in found]  # type: ignore[index]


def test_an_id_of_anything_is_found_at_once(scene: Scene, member: Client) -> None:
    home = f"/console/o/{scene.organization.slug}/"
    retry = make_retry(scene.webhook)
    attempt = Attempt.objects.filter(delivery_id=scene.dead.pk)[0]
    delivery = f"{home}subscriptions/{scene.webhook.pk}/deliveries/{scene.dead.pk}/"
    wanted = {
        scene.event_id: f"{home}events/{scene.event_id}/",
        scene.event_id.upper().replace("-", ""): f"{home}events/{scene.event_id}/",
        scene.dead.pk: delivery,
        attempt.pk: delivery,
        scene.webhook.pk: f"{home}subscriptions/{scene.webhook.pk}/",
        retry.pk: f"{home}jobs/{retry.pk}/",
    }
    for client, where in ((member, scene), (staff(SUPPORT), None)):
        for pk, url in wanted.items():
            assert links(find(client, where, str(pk))) == [url]


def test_values_subjects_types_and_names_are_found(scene: Scene, member: Client) -> None:
    wanted = {
        "inv_last": 1,
        "inv_": 7,
        "/accounts": 1,
        "user.created": 2,  # the type, and its event
        "user.*": 4,
        "A-1": 7,
        "Söhne": 7,
        "12900": 7,
        "1290": 0,
        "sku": 0,  # a name is no value
        "lines[*].sku = B-2": 7,
        "lines[0].sku = B-2": 0,
        "lines.1.sku=B-2": 7,
        "data.customer.id = cus_42": 7,
        "amount = 12900": 7,
        "paid = true": 7,
        "[*] = 2": 0,
        "Billing": 1,
        "%": 0,
        "_": 8,
        '"\\': 0,
        "\x00": 0,
    }
    boss = staff(is_superuser=True)
    for client, where in ((member, scene), (boss, None)):
        assert {q: len(links(find(client, where, q))) for q in wanted} == wanted


def test_what_is_spelled_with_escapes_is_found_and_what_is_found_is_escaped(tenant: Tenant) -> None:
    tenant.post("/api/v1/events", b'{"type": "a", "data": {"n": ["\\u0053-1", "x<b>S-1</b>"]}}')
    client = browser_of(make_member(tenant.organization))
    page = client.get(f"/console/o/{tenant.organization.slug}/search/", {"q": "S-1"}).content.decode()
    assert len(links(page)) == 1
    assert "n[0]:" in page
    assert "<mark>S-1</mark>" in page
    page = client.get(f"/console/o/{tenant.organization.slug}/search/", {"q": "<b>S-1"}).content.decode()
    assert "n[1]:" in page
    assert "<mark>&lt;b&gt;S-1</mark>" in page
    assert "<b>" not in page


def test_an_idempotency_key_is_found_in_one_organization_and_in_all(scene: Scene, tenant: Tenant) -> None:
    sent = tenant.post("/api/v1/events", {"type": "a.b", "data": 1, "idempotency_key": "once-1"}).json()
    for client, where in ((browser_of(make_member(scene.organization)), scene), (staff(), None)):
        page = find(client, where, "once-1")
        assert f"/console/o/{scene.organization.slug}/events/{sent['id']}/" in links(page)
        assert "Event with this idempotency key" in page


def test_another_organization_finds_nothing(scene: Scene, tenant: Tenant) -> None:
    tenant.post("/api/v1/events", {"type": "a.b", "data": 1, "idempotency_key": "once-1"})
    other = make_organization()
    stranger = browser_of(make_member(other))
    retry = make_retry(scene.webhook)
    texts = [scene.event_id, scene.dead.pk, scene.webhook.pk, scene.organization.pk, retry.pk, tenant.key.pk, "once-1",
             "inv_", "cus_42", "lines[*].sku = A-1", "Billing", f"evp_live_{tenant.key.public_id}",
             scene.organization.name]  # fmt: skip
    for text in texts:
        page = stranger.get("/console/search/", {"q": str(text)}, follow=True)
        assert page.redirect_chain[0][0].startswith(f"/console/o/{other.slug}/search/?q=")
        assert links(page.content.decode()) == []
        assert stranger.get(f"/console/o/{scene.organization.slug}/search/", {"q": str(text)}).status_code == 404


def test_staff_without_the_permission_finds_no_values(scene: Scene) -> None:
    for where in (scene, None):
        for q in ("cus_42", "Söhne", "amount = 12900", "lines[*].sku = A-1"):
            page = find(staff(), where, q)
            assert links(page) == []
            assert "may not read the data" in page
        assert len(links(find(staff(), where, "inv_"))) == 7
        page = find(staff(SUPPORT), where, "cus_42")
        assert len(links(page)) == 7
        assert "customer.id:" in page


def test_a_key_is_found_by_its_beginning_and_a_whole_one_is_not_shown(scene: Scene, tenant: Tenant) -> None:
    owner = browser_of(make_member(scene.organization))
    shown = f"evp_live_{tenant.key.public_id}"
    keys = f"/console/o/{scene.organization.slug}/keys/"
    assert links(find(owner, scene, shown[:-4])) == [keys]
    assert links(find(owner, scene, tenant.key.public_id)) == [keys]
    viewer = browser_of(make_member(scene.organization, Role.VIEWER))
    assert links(find(viewer, scene, shown)) == []
    page = find(owner, scene, tenant.plaintext)
    assert links(page) == [keys]
    assert "That was a whole API key" in page
    assert tenant.plaintext not in page


def test_a_refused_request_is_found_by_its_id_and_by_what_it_said(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = rejections.Rejection(moment=tenant.organization.created_at, code="validation_failed", detail="no",
                                request_id="req-77", key_prefix="evp_live_x", type="order.lost",
                                beginning='{"data": {"number": "R-4711"}}')  # fmt: skip
    monkeypatch.setattr("console.search.lookups.newest_rejections", lambda *_, **__: [told])
    path = f"/console/o/{tenant.organization.slug}/"
    supporter, member = staff(), browser_of(make_member(tenant.organization))
    for client, wanted in ((member, ("req-77", "order.lost", "R-4711", "number = R-4711")), (supporter, ("req-77",))):
        for q in wanted:
            assert links(client.get(f"{path}search/", {"q": q}).content.decode()) == [f"{path}rejected/"]
    # Who may not read data learns nothing of it.
    assert links(supporter.get(f"{path}search/", {"q": "R-4711"}).content.decode()) == []


def test_a_search_says_how_far_it_came_and_goes_on(
    scene: Scene, member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "BUDGET_SECONDS", 0)
    monkeypatch.setattr(scanning, "_PORTIONS", (4,))
    page = find(member, scene, "usr_1")
    found, looked_at = list(links(page)), 4
    assert "(4 events)" in page
    while next_page := re.search(r'href="\?q=usr_1&amp;before=([0-9a-f-]+)"', page):
        page = find(member, scene, "usr_1", before=next_page[1])
        found += links(page)
        looked_at += 4
        assert looked_at < 20
    assert "all that there are" in page
    assert len(found) == 1


def test_a_full_page_goes_on_below_its_last_event(
    scene: Scene, member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "PAGE", 3)
    page = find(member, scene, "cus_42")
    seen = links(page)
    while next_page := re.search(r'before=([0-9a-f-]+)"', page):
        page = find(member, scene, "cus_42", before=next_page[1])
        seen += links(page)
    assert len(seen) == len(set(seen)) == 7


def test_data_that_takes_too_long_is_said_not_waited_for(
    scene: Scene, member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "_STATEMENT_MS", 20)
    monkeypatch.setattr(scanning, "_ANYWHERE", "pg_sleep(1) IS NULL")
    assert "could not be searched in time" in find(member, scene, "cus_42")


def test_an_event_is_found_by_the_id_that_its_request_brought(tenant: Tenant, scene: Scene, member: Client) -> None:
    sent = tenant.post("/api/v1/events", {"type": "a.b", "data": 1}, **{"Request-Id": "req-78"}).json()["id"]
    page = find(member, scene, "req-78")
    assert links(page) == [f"/console/o/{scene.organization.slug}/events/{sent}/"]
    assert "request id:" in page


def test_the_id_that_the_platform_gave_leads_to_what_was_accepted_then(tenant: Tenant, member: Client) -> None:
    sent = tenant.post("/api/v1/events", {"type": "a.b", "data": 1})
    path = f"/console/o/{tenant.organization.slug}/"
    page = member.get(f"{path}search/", {"q": sent["Request-Id"]}).content.decode()
    assert f"{path}events/{sent.json()['id']}/" in links(page)
    assert "not stored with their events" in page
    of_another = browser_of(make_member(make_organization()))
    own = of_another.get("/console/search/", {"q": sent["Request-Id"]}, follow=True).content.decode()
    assert links(own) == []
    assert "nothing was accepted within two seconds" in own
