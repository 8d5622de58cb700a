"""The portal in a frame of another site: where the organization allows it, and where it does not."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from delivery.models import SubscriptionStatus
from portal.models import PortalAppearance
from tests.conftest import Tenant
from tests.support.people.people_browser import needs_chromium
from tests.support.people.portal_visits import make_link, make_tagged

pytestmark = [needs_chromium, pytest.mark.django_db(transaction=True), pytest.mark.slow]


class _Frame(BaseHTTPRequestHandler):
    """A page that has nothing but a frame, with what `?` says in it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(f'<iframe src="{self.path.partition("?")[2]}" width="900" height="700"></iframe>'.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    """The origin of another site than the portal's, which is at `localhost`; to a browser as good as https."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Frame) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.fixture
def page(browser: Browser, settings: Any) -> Iterator[Page]:
    settings.SESSION_COOKIE_SECURE = True
    with browser.new_context() as context:
        yield context.new_page()


def allow(tenant: Tenant, *origins: str) -> None:
    PortalAppearance.objects.create(
        organization=tenant.organization, name="Harbour Books", frame_ancestors=list(origins), accent_dark="#f0a6cf"
    )


def test_a_site_that_is_allowed_shows_it_and_its_forms_work(
    page: Page, live_server: Any, tenant: Tenant, shop: str
) -> None:
    allow(tenant, shop)
    webhook = make_tagged(tenant)
    page.goto(f"{shop}/?{live_server.url}{make_link(tenant)}")
    portal = page.frame_locator("iframe")
    page.emulate_media(color_scheme="dark")
    expect(portal.get_by_role("link", name="New endpoint")).to_have_css("background-color", "rgb(240, 166, 207)")
    portal.locator(f"a[href='/portal/subscriptions/{webhook.pk}/']").first.click()
    portal.get_by_role("button", name="Pause").click()
    expect(portal.get_by_role("button", name="Resume")).to_be_visible()
    webhook.refresh_from_db()
    assert webhook.status == SubscriptionStatus.PAUSED
    [cookie] = page.context.cookies()
    assert (cookie["name"], cookie["sameSite"]) == ("__Secure-portal", "None")
    assert cookie.get("partitionKey") == "http://127.0.0.1"
    # What was opened in the frame is not open outside of it.
    page.goto(f"{live_server.url}/portal/")
    expect(page.locator("h1")).to_have_text("You need a link")


@pytest.mark.parametrize("allowed", [[], ["https://app.example.com"]])
def test_a_site_that_is_not_named_shows_nothing(
    page: Page, live_server: Any, tenant: Tenant, shop: str, allowed: list[str]
) -> None:
    allow(tenant, *allowed)
    with page.expect_console_message(lambda message: "frame" in message.text.lower()) as refusal:
        page.goto(f"{shop}/?{live_server.url}{make_link(tenant)}")
    assert live_server.url in refusal.value.text
    assert "frame-ancestors" in refusal.value.text or "X-Frame-Options" in refusal.value.text
