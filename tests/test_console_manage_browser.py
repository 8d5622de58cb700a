"""The pages by which members help themselves, in a real browser: each important click, narrow screens, and axe."""

import os
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Browser, expect

from delivery import guard
from delivery.models import DeliveryStatus, Replay
from delivery.operations import subscriptions as subscription_operations
from ingestion.models import EventType
from organizations.models import ApiKey, Membership, Role
from tests.conftest import Tenant
from tests.console_data import Scene, make_scene
from tests.test_console_browser import (
    CHROMIUM,
    PHONE,
    SERIOUS,
    Visit,
    _queries_beside_a_running_loop,
    _visit,
    browser,
    visit,
)

__all__ = ["_queries_beside_a_running_loop", "browser", "visit"]
pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs a browser: install Debian's package chromium"),
    pytest.mark.django_db(transaction=True),
]


@pytest.fixture(autouse=True)
def _no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_operations, "check_destination", guard.check_url)


@pytest.fixture
def scene(tenant: Tenant) -> Scene:
    found = make_scene(tenant)
    now = timezone.now()
    Replay.objects.create(
        organization=tenant.organization,
        subscription=found.webhook,
        received_after=now,
        received_before=now,
        total=120,
        looked_at=40,
        created=38,
    )
    return found


def be_admin(tenant: Tenant) -> None:
    """Whoever is signed in: roles are read anew at each request."""
    Membership.objects.filter(organization=tenant.organization, role=Role.MEMBER).update(role=Role.ADMIN)


def page_paths(scene: Scene) -> list[str]:
    webhook = f"subscriptions/{scene.webhook.pk}/"
    replay = Replay.objects.get(organization=scene.organization)
    event_type = EventType.objects.get(organization=scene.organization, name="invoice.paid")
    return [
        "keys/",
        f"keys/{ApiKey.objects.get(organization=scene.organization).pk}/rotate",
        "subscriptions/",
        "subscriptions/new",
        webhook,
        f"{webhook}edit",
        f"{webhook}delete",
        f"{webhook}test",
        f"{webhook}deliveries/",
        f"{webhook}deliveries/{scene.dead.pk}/",
        f"{webhook}dead-letters/",
        f"{webhook}dead-letters/retry-all",
        f"{webhook}replay",
        f"replays/{replay.pk}/",
        "replays/",
        "event-types/",
        f"event-types/{event_type.pk}/",
        f"event-types/{event_type.pk}/edit",
        "event-types/new",
        "usage/",
        "audit/",
        "audit/?action=replay",
        "subscriptions/?kind=inbox",
    ]


def test_a_webhook_is_made_and_its_secret_rotated(visit: Visit, scene: Scene) -> None:
    page = visit.go("subscriptions/")
    page.get_by_role("link", name="New subscription").click()
    page.get_by_label("URL").fill("https://example.com/hook")
    page.get_by_label("Name").fill("Ledger")
    page.get_by_label("Filter").fill("{")
    page.get_by_role("button", name="Make the webhook").click()
    expect(page.get_by_text("This is not JSON")).to_be_visible()
    page.get_by_label("Filter").fill('{"data.amount": {"gte": 1}}')
    page.get_by_role("button", name="Make the webhook").click()
    expect(page.locator("#secret")).to_contain_text("whsec_")
    first = page.locator("#secret").text_content()
    page.reload()
    expect(page.locator("#secret")).to_have_count(0)
    page.get_by_role("link", name="Rotate secret").click()
    page.get_by_role("button", name="Rotate the secret").click()
    expect(page.locator("#secret")).to_contain_text("whsec_")
    assert page.locator("#secret").text_content() != first
    assert [line for line in visit.complaints if "422" not in line] == []


def test_dead_letters_are_retried(visit: Visit, scene: Scene) -> None:
    page = visit.go(f"subscriptions/{scene.webhook.pk}/dead-letters/")
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Retry selected").click()
    expect(page.get_by_text("1 delivery is due now.")).to_be_visible()
    scene.dead.refresh_from_db()
    assert scene.dead.status == DeliveryStatus.PENDING
    scene.dead.status, scene.dead.next_attempt_at = DeliveryStatus.DEAD_LETTER, None
    scene.dead.save()
    page.reload()
    page.get_by_role("link", name="Retry all").click()
    page.get_by_role("button", name="Retry 1").click()
    expect(page.get_by_text("1 of 1 are due now.")).to_be_visible()
    visit.check()


def test_a_replay_moves_by_itself(visit: Visit, scene: Scene) -> None:
    replay = Replay.objects.get()
    page = visit.go(f"replays/{replay.pk}/")
    expect(page.get_by_text("40 of 120 events looked at")).to_be_visible()
    Replay.objects.update(looked_at=90)
    expect(page.get_by_text("90 of 120 events looked at")).to_be_visible()
    page.get_by_role("link", name="Cancel the replay").click()
    page.get_by_role("button", name="Cancel the replay").click()
    expect(page.get_by_text("The replay is cancelled.")).to_be_visible()
    visit.check()


def test_a_key_is_issued_and_shown_once(visit: Visit, tenant: Tenant) -> None:
    be_admin(tenant)
    page = visit.go("keys/")
    page.get_by_label("Name").fill("Billing")
    page.get_by_role("button", name="Make the key").click()
    expect(page.locator("#secret")).to_contain_text("evp_live_")
    expect(page.get_by_role("button", name="Copy")).to_be_visible()
    page.reload()
    expect(page.locator("#secret")).to_have_count(0)
    visit.check()


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    browser: Browser, live_server: Any, tenant: Tenant, scene: Scene, color_scheme: Literal["light", "dark"]
) -> None:
    found = []
    with _visit(browser, live_server.url, tenant, color_scheme=color_scheme) as visit:
        be_admin(tenant)
        for path in page_paths(scene):
            results = Axe().run(visit.go(path))
            found += [
                (path, violation["id"], [node["html"][:200] for node in violation["nodes"][:3]])
                for violation in results.response["violations"]
                if violation["impact"] in SERIOUS
            ]
        visit.check()
    assert found == []


def test_nothing_scrolls_sideways_on_a_phone(browser: Browser, live_server: Any, tenant: Tenant, scene: Scene) -> None:
    with _visit(browser, live_server.url, tenant, viewport=PHONE) as visit:
        be_admin(tenant)
        for path in page_paths(scene):
            page = visit.go(path)
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, path


if folder := os.environ.get("CONSOLE_SCREENSHOTS"):

    @pytest.mark.parametrize("look", ["light", "dark", "phone"])
    def test_screenshots(browser: Browser, live_server: Any, tenant: Tenant, scene: Scene, look: str) -> None:
        options = {
            "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 860}},
            "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 860}},
            "phone": {"color_scheme": "light", "viewport": PHONE},
        }
        with _visit(browser, live_server.url, tenant, **options[look]) as visit:
            be_admin(tenant)
            for number, path in enumerate(page_paths(scene)):
                visit.go(path).screenshot(path=f"{folder}/manage-{number:02}-{look}.png", full_page=True)
