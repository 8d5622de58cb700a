"""What people come to the console for, in a real browser, with as few clicks as that may take."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from playwright.sync_api import Browser, Locator, expect

from delivery.models import DeadLetterRetry, Delivery, DeliveryStatus, RetryOutcomes
from delivery.operations import run_dead_letter_retries
from tests.conftest import Tenant
from tests.factories import UserFactory
from tests.support.people.accounts import code_of
from tests.support.people.console_data import Scene, make_scene
from tests.support.people.console_visit import Visit, open_visit
from tests.support.people.every_page import PASSWORD
from tests.support.people.people_browser import needs_chromium

pytestmark = [needs_chromium, pytest.mark.django_db(transaction=True), pytest.mark.slow]


@dataclass
class Clicks:
    count: int = 0

    def on(self, target: Locator) -> None:
        target.click()
        self.count += 1


@pytest.fixture
def scene(tenant: Tenant) -> Scene:
    return make_scene(tenant)


def test_on_call_gets_from_the_sign_in_to_the_attempt(
    browser: Browser, live_server: Any, tenant: Tenant, scene: Scene
) -> None:
    staff = UserFactory.create(is_staff=True, username="oncall")
    staff.set_password(PASSWORD)
    staff.save()
    clicks = Clicks()
    with open_visit(browser, live_server.url, tenant, user=staff) as visit:
        page = visit.page
        page.context.clear_cookies()
        page.goto(f"{visit.base_url}/console/")
        page.fill("input[name=username]", staff.username)
        page.fill("input[name=password]", PASSWORD)
        clicks.on(page.locator("main form [type=submit]"))
        clicks.on(page.get_by_role("link", name="Events", exact=True))
        dead = page.locator("tr", has=page.get_by_text("Dead letter"))
        expect(dead).to_have_count(1)
        clicks.on(dead.locator("[data-row]"))
        expect(page.locator("#outcome")).to_have_text("Dead letter 1 of 2")
        clicks.on(page.locator("summary", has_text="Attempt 2"))
        clicks.on(page.get_by_role("link", name="Verify, copy as curl, compare attempt 2"))
        expect(page.locator("h1")).to_have_text("Attempt 2")
        visit.check()
    assert clicks.count <= 6


def test_a_new_admin_gets_from_nothing_to_an_issued_key_and_an_invited_member(
    browser: Browser, live_server: Any, tmp_path: Path, settings: Any
) -> None:
    """With the account that the first start makes, where staff must have a second factor."""
    settings.REQUIRE_STAFF_MFA = True
    call_command("bootstrap_admin", file=tmp_path / "admin.json")
    login = json.loads((tmp_path / "admin.json").read_text())
    clicks = Clicks()
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{live_server.url}/")
        page.fill("input[name=username]", login["admin_username"])
        page.fill("input[name=password]", login["admin_password"])
        clicks.on(page.locator("main form [type=submit]"))
        clicks.on(page.get_by_role("link", name="Activate"))
        page.fill("input[name=code]", code_of(page.locator("#authenticator_secret").input_value()))
        clicks.on(page.get_by_role("button", name="Activate"))
        expect(page.locator("h1")).to_have_text("Recovery Codes")
        clicks.on(page.get_by_role("link", name="Events Platform"))
        clicks.on(page.get_by_role("link", name="Create an organization"))
        page.get_by_label("Name").press_sequentially("Harbour Books")
        expect(page.get_by_label("Slug")).to_have_value("harbour-books")
        clicks.on(page.get_by_role("button", name="Save", exact=True))
        clicks.on(page.get_by_role("link", name="issue an API key"))
        page.get_by_label("Name").fill("Billing")
        clicks.on(page.get_by_role("button", name="Create key"))
        expect(page.locator("#secret")).to_contain_text("evp_")
        clicks.on(page.get_by_role("link", name="Members", exact=True))
        page.get_by_label("Email address").fill("nora@example.com")
        clicks.on(page.get_by_role("button", name="Send invitation"))
        expect(page.locator("#secret")).to_contain_text("/console/invitations/")
    assert clicks.count <= 10


def test_an_outage_is_over_from_the_overview_to_a_finished_retry(visit: Visit, scene: Scene) -> None:
    Delivery.objects.filter(subscription=scene.webhook).update(
        status=DeliveryStatus.DEAD_LETTER, next_attempt_at=None, last_error="http_error"
    )
    number, clicks = Delivery.objects.filter(subscription=scene.webhook).count(), Clicks()
    page = visit.go()
    clicks.on(page.get_by_role("link", name=f"{number} dead letters of Billing"))
    clicks.on(page.get_by_role("link", name="Retry all"))
    clicks.on(page.get_by_role("button", name=f"Retry {number}"))
    expect(page.get_by_text(f"0 of {number} tried again")).to_be_visible()
    run_dead_letter_retries(seconds=5)
    # As a sender would write down what came of them.
    Delivery.objects.filter(subscription=scene.webhook).update(
        status=DeliveryStatus.DELIVERED, delivered_at=timezone.now(), next_attempt_at=None, retry_id=None
    )
    RetryOutcomes.objects.filter(retry=DeadLetterRetry.objects.get()).update(delivered=number - 1, failed_again=1)
    expect(page.get_by_text(f"{number} of {number} tried again")).to_be_visible()
    expect(page.locator("#job .status")).to_have_text("done")
    assert clicks.count <= 5
    visit.check()


def test_a_retry_on_the_events_page_shows_how_it_ends(visit: Visit, scene: Scene) -> None:
    page = visit.go(f"events/{scene.event_id}/")
    page.locator("summary", has_text="Attempt 2").click()
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator("#outcome")).to_have_text("Pending")
    page.locator("summary", has_text="Attempt 1").click()
    Delivery.objects.filter(pk=scene.dead.pk).update(
        status=DeliveryStatus.DELIVERED, delivered_at=timezone.now(), next_attempt_at=None
    )
    expect(page.locator("#timeline").get_by_text("Delivered", exact=True)).to_have_count(1)
    # What was unfolded stays so.
    expect(page.locator(f"#attempt-{scene.dead.pk}-1")).to_have_attribute("open", "")
    visit.check()


def test_the_times_of_a_replay_are_the_persons_own(visit: Visit, scene: Scene) -> None:
    page = visit.go(f"subscriptions/{scene.webhook.pk}/replay")
    expect(page.get_by_text("(Europe/Vienna)")).to_have_count(2)
    page.locator("[name=received_after]").fill("2026-01-05T11:00:30")
    page.locator("[name=received_before]").fill("2026-01-05T12:00:30")
    with page.expect_request(lambda request: request.method == "POST") as sent:
        page.get_by_role("button", name="Count").click()
    assert "received_after=2026-01-05T10%3A00%3A30Z" in (sent.value.post_data or "")
    expect(page.locator("[name=received_after]")).to_have_value("2026-01-05T11:00:30")
    expect(page.get_by_text("Times are in your time zone, Europe/Vienna.")).to_be_visible()
