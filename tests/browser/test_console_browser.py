"""The console in a real browser: keyboard, filters, folding, views, live. test_every_page.py looks at each page."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from ingestion.operations import process_outbox
from tests.conftest import Tenant
from tests.factories import UserFactory
from tests.support.people.console_data import Scene, make_issue, make_scene
from tests.support.people.console_visit import Visit, open_visit
from tests.support.people.people_browser import PHONE, needs_chromium

pytestmark = [
    needs_chromium,
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
]


@pytest.fixture
def scene(tenant: Tenant) -> Scene:
    return make_scene(tenant)


def test_the_keyboard_moves_opens_searches_and_helps(visit: Visit, scene: Scene) -> None:
    page = visit.go("events/")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("tbody tr").first.locator("[data-row]")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#find")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Keyboard shortcuts")
    page.keyboard.press("Escape")
    # Escape has led back to the first row.
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("user.deleted")
    visit.check()


def test_filters_are_chosen_and_removed_by_clicking(visit: Visit, scene: Scene) -> None:
    page = visit.go("events/")
    page.get_by_label("Type", exact=True).fill("user.*")
    page.get_by_label("Time", exact=True).select_option("1h")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    assert page.url.endswith("events/?type=user.*&range=1h")
    page.get_by_label("Outcome").select_option("failed")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Remove the filter type: user.*").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_text("Clear all").click()
    expect(page.locator("tbody tr")).to_have_count(9)
    visit.check()


def test_times_are_local_and_the_url_is_utc(visit: Visit, scene: Scene) -> None:
    page = visit.go("events/?from=2026-01-05T10:00:00Z")
    expect(page.locator("#from")).to_have_value(re.compile("2026-01-05T11:00"))
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/events/?from=2026-01-05T10%3A00%3A00Z")
    shown = page.locator("td.when time").first
    assert "UTC" not in (shown.text_content() or "")
    assert (shown.get_attribute("title") or "").endswith("UTC")
    visit.check()


def test_an_hour_that_summer_time_repeats_is_sent_back_as_it_came(visit: Visit, scene: Scene) -> None:
    """In Vienna it was half past two twice, at 00:30 and at 01:30 UTC."""
    page = visit.go("events/?from=2025-10-26T00:30:00Z&to=2025-10-26T01:30:00Z")
    expect(page.locator("#to")).to_have_value(re.compile("2025-10-26T02:30"))
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/events/?from=2025-10-26T00%3A30%3A00Z&to=2025-10-26T01%3A30%3A00Z")
    visit.check()


def test_a_view_is_saved_opened_and_deleted(visit: Visit, scene: Scene) -> None:
    page = visit.go("events/?type=user.*")
    page.get_by_text("Save this view").click()
    page.get_by_label("Name").fill("People")
    page.get_by_role("button", name="Save").click()
    visit.go("events/").get_by_role("link", name="People").click()
    expect(page.locator("#type")).to_have_value("user.*")
    page.get_by_role("button", name="Delete this view").click()
    expect(page.get_by_role("link", name="People")).to_have_count(0)
    visit.check()


def test_data_is_folded_below_the_first_level(visit: Visit, scene: Scene) -> None:
    page = visit.go(f"events/{scene.event_id}/")
    expect(page.locator("#data").get_by_text("12900")).to_be_visible()
    expect(page.locator("#data").get_by_text("cus_42")).to_be_hidden()
    page.locator("#data summary", has_text="id, name").click()
    expect(page.locator("#data").get_by_text("cus_42")).to_be_visible()
    page.get_by_role("button", name="Expand all").click()
    expect(page.locator("#data").get_by_text("Wien")).to_be_visible()
    visit.check()


def test_a_dead_letter_is_retried_with_a_click(visit: Visit, scene: Scene) -> None:
    page = visit.go(f"events/{scene.event_id}/")
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.get_by_text("The delivery is due now.")).to_be_visible()
    scene.dead.refresh_from_db()
    assert scene.dead.status == "pending"
    visit.check()


def test_live_shows_what_comes_pauses_and_goes_on(visit: Visit, tenant: Tenant) -> None:
    page = visit.go("live/")
    expect(page.get_by_text("Watching")).to_be_visible()
    tenant.post("/api/v1/events", {"type": "first", "data": 1})
    expect(page.get_by_role("link", name="first")).to_have_count(1)
    page.keyboard.press("p")
    expect(page.get_by_text("Paused")).to_be_visible()
    tenant.post("/api/v1/events", {"type": "second", "data": 1})
    page.get_by_role("button", name="1 new event").click()
    expect(page.get_by_role("link", name="second")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    tenant.post("/api/v1/events", {"type": "third", "data": 1})
    expect(page.locator("#live-rows [data-row]")).to_have_text(["third", "second", "first"])
    visit.check()


def test_live_renews_the_status_and_tells_of_a_gap_once(
    visit: Visit, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.live.queries.MAX_ROWS", 2)
    page = visit.go("live/")
    expect(page.get_by_text("Watching")).to_be_visible()
    tenant.post("/api/v1/events/batch", {"events": [{"type": "a", "data": number} for number in range(3)]})
    expect(page.locator("#live-rows .status")).to_have_text(["Accepted", "Accepted"])
    process_outbox()
    expect(page.locator("#live-rows .status")).to_have_text(["No subscriber", "No subscriber"])
    expect(page.locator("#live-rows .skipped")).to_have_count(1)
    visit.check()


def test_the_first_run_turns_green(visit: Visit, tenant: Tenant) -> None:
    page = visit.go("")
    expect(page.get_by_text("Waiting for the first event")).to_be_visible()
    tenant.post("/api/v1/events", {"type": "hello.world", "data": 1})
    expect(page.get_by_role("link", name="hello.world")).to_be_visible()
    visit.check()


def test_staff_reach_every_organization_on_a_phone(
    browser: Browser, live_server: Any, tenant: Tenant, scene: Scene
) -> None:
    staff = UserFactory.create(is_staff=True)
    with open_visit(browser, live_server.url, tenant, user=staff, viewport=PHONE) as visit:
        page = visit.page
        page.goto(visit.base_url + "/console/organizations/")
        page.locator(".switcher > summary").click()
        page.get_by_label("Search organizations").fill(scene.organization.name)
        page.keyboard.press("Enter")
        page.locator("main").get_by_role("link", name=scene.organization.name, exact=True).click()
        expect(page.locator("h1")).to_have_text("Overview")
        visit.check()


def test_from_the_search_to_a_retry_without_javascript(
    browser: Browser, live_server: Any, tenant: Tenant, scene: Scene
) -> None:
    make_issue(scene.dead)
    with open_visit(browser, live_server.url, tenant, java_script_enabled=False) as visit:
        page = visit.go("search/?q=inv_last")
        page.locator("tbody a").first.click()
        page.locator("#data summary", has_text="id, name").click()
        expect(page.locator("#data").get_by_text("cus_42")).to_be_visible()
        page.locator("summary", has_text="Attempt 2").click()
        page.get_by_role("link", name="Verify, copy as curl, compare attempt 2").click()
        page.get_by_role("link", name="attempt 1", exact=True).click()
        expect(page.locator("section.attempts")).to_have_count(2)
        visit.go("issues/").locator("summary", has_text="Note and mute").click()
        page.get_by_label("Note", exact=True).fill("They move until noon.")
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".issue-note")).to_have_text("They move until noon.")
        visit.go(f"subscriptions/{scene.webhook.pk}/charts/").get_by_role("link", name="7 days").click()
        expect(page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
        visit.go(f"events/{scene.event_id}/").get_by_role("button", name="Retry", exact=True).click()
        expect(page.get_by_role("link", name="Reload to see what happens next")).to_be_visible()
        visit.check()
