"""The keyboard reaches everything and comes back; the theme is remembered, without a script too."""

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from organizations.models import Membership, Role
from tests.conftest import Tenant
from tests.factories import make_organization
from tests.support.people.console_data import Scene, make_member, make_scene
from tests.support.people.console_visit import Visit, open_visit
from tests.support.people.people_browser import needs_chromium

pytestmark = [needs_chromium, pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def scene(tenant: Tenant) -> Scene:
    return make_scene(tenant, events=3)


def test_the_search_from_the_keyboard_leads_to_the_event_and_back_to_its_row(visit: Visit, scene: Scene) -> None:
    page = visit.go("events/")
    page.keyboard.press("j")
    first = page.locator("tbody tr").first.locator("[data-row]")
    page.keyboard.press("/")
    expect(page.locator("#find")).to_be_focused()
    page.keyboard.press("Escape")
    expect(first).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("lines[*].sku = B-2")
    page.keyboard.press("Enter")
    expect(page.locator("mark").first).to_have_text("B-2")
    expect(page.locator("tbody tr")).to_have_count(4)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("invoice.paid")
    page.go_back()
    expect(page.locator("tbody tr").nth(1).locator("[data-row]")).to_be_focused()
    visit.check()


def test_the_palette_reaches_pages_organizations_and_the_search(
    browser: Browser, live_server: Any, tenant: Tenant, scene: Scene
) -> None:
    user = make_member(tenant.organization, Role.MEMBER)
    Membership.objects.create(organization=make_organization(name="Harbour Books"), user=user, role=Role.VIEWER)
    with open_visit(browser, live_server.url, tenant, user) as visit:
        page = visit.go("events/")
        dialog = page.locator("#palette")
        page.keyboard.press("Control+k")
        expect(page.locator("#palette-field")).to_be_focused()
        page.keyboard.press("Escape")
        expect(dialog).not_to_be_visible()
        page.keyboard.press("Control+k")
        page.keyboard.type("event ty")
        expect(page.locator("[role=option][aria-selected=true]")).to_have_text("Event types")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Event types")
        page.wait_for_load_state()  # the keys are the script's
        page.keyboard.press("Control+k")
        page.keyboard.type("harbour")
        expect(page.get_by_role("option", name="Organization: Harbour Books")).to_be_visible()
        page.keyboard.press("ArrowUp")
        expect(page.locator("[role=option][aria-selected=true]")).to_have_text("Search for “harbour”")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
        expect(page.locator(".switcher-name")).to_contain_text("Harbour Books")
        page.locator(".switcher summary").click()
        page.locator("#switcher-search").fill("harb")
        expect(page.locator("#switcher-list a")).to_have_count(1)
        page.keyboard.press("Escape")
        expect(page.locator(".switcher summary")).to_be_focused()
        visit.check()


def test_the_theme_is_chosen_without_a_script_and_remembered(
    browser: Browser, live_server: Any, tenant: Tenant, scene: Scene
) -> None:
    with open_visit(browser, live_server.url, tenant, java_script_enabled=False, color_scheme="light") as visit:
        page = visit.go("events/?type=invoice.paid")
        for name, theme in (("Dark", "dark"), ("Light", "light")):
            page.locator(".account summary").click()
            page.get_by_role("button", name=name, exact=True).click()
            expect(page.locator("html")).to_have_attribute("data-theme", theme)
            assert page.url.endswith("events/?type=invoice.paid")
        page.emulate_media(color_scheme="dark")
        visit.go("live/")
        expect(page.locator("html")).to_have_attribute("data-theme", "light")
        expect(page.locator("body")).to_have_css("color", "rgb(28, 36, 48)")
        page.locator(".account summary").click()
        page.get_by_role("button", name="System", exact=True).click()
        expect(page.locator("html")).not_to_have_attribute("data-theme", "light")
        expect(page.locator("body")).to_have_css("color", "rgb(230, 234, 241)")
        page.locator("#find").fill("inv_last")
        page.locator("#find").press("Enter")
        expect(page.locator("mark")).to_have_text("inv_last")
