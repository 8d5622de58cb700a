"""A picture of every page, into the folder that SCREENSHOTS names: `make screenshots`. Nothing is checked here.

Those that the README shows are in git, beside folders that are not: console, admin, portal and accounts.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.contrib.auth.models import User
from django.contrib.auth.tokens import default_token_generator
from django.test import Client
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from playwright.sync_api import Page

from delivery.operations import subscription_fields
from delivery.webhooks import guard
from tests.support.people.every_page import session_of
from tests.support.people.people_browser import PHONE, Tab, needs_chromium, open_tab
from tests.support.people.screenshot_scene import Gallery, make_gallery

DESK, WINDOW = {"width": 1440, "height": 900}, {"width": 1080, "height": 1000}
NOBODY = "01900000-0000-7000-8000-000000000000"
folder = os.environ.get("SCREENSHOTS", "")
pytestmark = [
    needs_chromium,
    pytest.mark.skipif(not folder, reason="only `make screenshots` takes pictures"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
]
Click = Callable[[Page], object]


class Camera:
    """A browser that takes pictures of whole pages."""

    def __init__(self, tab: Tab, area: str) -> None:
        self.tab = tab
        self.folder = Path(folder) / area
        self.folder.mkdir(parents=True, exist_ok=True)

    def sign_in(self, user: User) -> None:
        self.tab.page.context.clear_cookies()
        cookie: Any = {**session_of(user), "url": self.tab.base_url}
        self.tab.page.context.add_cookies([cookie])

    def take(self, name: str, path: str, click: Click | None = None) -> None:
        page = self.tab.go(path)
        if click:
            click(page)
        self.snap(name)

    def snap(self, name: str) -> None:
        """On a desk and on a phone, light and dark."""
        for place, size in (("", DESK), ("-phone", PHONE)):
            self.tab.page.set_viewport_size(size)  # type: ignore[arg-type]
            self._snap_both(self.folder / f"{name}{place}.png")
        self.tab.page.set_viewport_size(DESK)  # type: ignore[arg-type]

    def show(self, name: str, path: str) -> None:
        """One of those that the README shows, light and dark, in the folder itself: as much as fits its window."""
        page = self.tab.go(path)
        page.set_viewport_size(WINDOW)  # type: ignore[arg-type]
        self._snap_both(Path(folder) / f"{name}.png", whole=False)
        page.set_viewport_size(DESK)  # type: ignore[arg-type]

    def _snap_both(self, path: Path, *, whole: bool = True) -> None:
        page, dark = self.tab.page, path.with_stem(f"{path.stem}-dark")
        page.screenshot(path=path, full_page=whole)
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=dark, full_page=whole, animations="disabled")
        page.emulate_media(color_scheme="light")

    def forgive(self) -> None:
        """A page that is an error is one that the browser complains of."""
        self.tab.complaints = [line for line in self.tab.complaints if "status of 4" not in line]


@pytest.fixture(autouse=True)
def _any_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)


def test_pictures(live_server: Any) -> None:
    """In one test: making the data takes longer than the pictures."""
    gallery = make_gallery()
    for area, take in (
        ("portal", _portal), ("console", _console), ("admin", _admin), ("accounts", _accounts),
    ):  # fmt: skip
        with open_tab(live_server.url, viewport=DESK, timezone_id="Europe/Vienna", locale="en-GB") as tab:
            camera = Camera(tab, area)
            camera.sign_in(gallery.operator)
            take(camera, gallery)
            camera.forgive()


def _console(camera: Camera, gallery: Gallery) -> None:
    home = gallery.home
    camera.show("overview", home)
    camera.show("event", f"{home}events/{gallery.event_id}/")
    camera.show("charts", f"{home}subscriptions/{gallery.webhook.pk}/charts/?range=24h")
    for name, path in _console_pages(gallery).items():
        camera.take(name, home + path)
    for name, path in (("events", "events/"), ("subscriptions", "subscriptions/"), ("event-types", "event-types/"),
                       ("exports", "exports/"), ("replays", "replays/")):  # fmt: skip
        camera.take(f"{name}-empty", gallery.empty_home + path)
    camera.take("first-run", gallery.empty_home)
    camera.take("overview-empty", f"{gallery.empty_home}?range=7d")
    camera.take("form-errors", f"{home}subscriptions/new", _fill_in_wrongly)
    camera.take("event-open", f"{home}events/{gallery.event_id}/", _unfold)
    camera.take("key-issued", f"{home}keys/", _issue_key)
    camera.take("organizations", "/console/organizations/")
    camera.take("events-of-all", "/console/events/")
    camera.take("health", "/console/health/")
    camera.take("not-found", "/nowhere/")
    camera.take("no-event", f"{home}events/{NOBODY}/")
    camera.take("palette", home, _ask_palette)


def _console_pages(gallery: Gallery) -> dict[str, str]:
    """Names of pictures, and paths below the organization's."""
    webhook = f"subscriptions/{gallery.webhook.pk}/"
    return {
        "overview": "",
        "overview-30-days": "?range=30d",
        "events": "events/",
        "events-filtered": "events/?type=invoice.*&range=24h&path=customer.country&value=AT",
        "events-nothing": "events/?type=nothing",
        "event": f"events/{gallery.event_id}/",
        "live": "live/",
        "subscriptions": "subscriptions/",
        "subscription": webhook,
        "subscription-new": "subscriptions/new",
        "subscription-edit": f"{webhook}edit",
        "subscription-delete": f"{webhook}delete",
        "subscription-test": f"{webhook}test",
        "deliveries": f"{webhook}deliveries/",
        "delivery": f"{webhook}deliveries/{gallery.dead.pk}/",
        "attempt": f"{webhook}deliveries/{gallery.dead.pk}/attempts/5/?with=3",
        "charts": f"{webhook}charts/?range=24h",
        "dead-letters": f"{webhook}dead-letters/",
        "dead-letters-retry-all": f"{webhook}dead-letters/retry-all",
        "replay-new": f"{webhook}replay",
        "replays": "replays/",
        "replay": f"replays/{gallery.replay.pk}/",
        "job": f"jobs/{gallery.retry.pk}/",
        "issues": "issues/",
        "rejected": "rejected/",
        "notices": "notices/",
        "search": "search/?q=inv_1187",
        "search-nothing": "search/?q=inv_9999999",
        "search-path": "search/?q=lines[*].sku = B-02",
        "portal-settings": "portal/",
        "event-types": "event-types/",
        "event-type": f"event-types/{gallery.event_type.pk}/",
        "event-type-edit": f"event-types/{gallery.event_type.pk}/edit",
        "exports": "exports/",
        "export": f"exports/{gallery.export_id}/",
        "export-new": "exports/new?type=invoice.*&range=24h",
        "keys": "keys/",
        "key-rotate": f"keys/{gallery.key.pk}/rotate",
        "members": "members/",
        "usage": "usage/",
        "audit": "audit/",
    }


def _fill_in_wrongly(page: Page) -> None:
    for name, value in {"url": "ftp://ledger.example", "name": "Ledger", "filter": "{"}.items():
        page.locator(f"main [name={name}]").fill(value)
    page.evaluate("document.querySelectorAll('form').forEach((form) => (form.noValidate = true))")
    with page.expect_navigation():
        page.get_by_role("button", name="Create webhook").click()


def _unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('main details').forEach((part) => (part.open = true))")


def _ask_palette(page: Page) -> None:
    page.keyboard.press("Control+k")
    page.keyboard.type("iss")


def _issue_key(page: Page) -> None:
    page.get_by_label("Name").fill("Ledger")
    page.get_by_role("button", name="Create key").click()
    page.locator("#secret").wait_for()


def _admin(camera: Camera, gallery: Gallery) -> None:
    organization = gallery.organization.pk
    chosen = f"?organization__id__exact={organization}"
    for name, path in {
        "front": "",
        "organizations": "organizations/organization/",
        "organization": f"organizations/organization/{organization}/change/",
        "suspend": f"organizations/organization/{organization}/suspend/",
        "keys": "organizations/apikey/",
        "key": f"organizations/apikey/{gallery.key.pk}/change/",
        "key-issue": "organizations/apikey/add/",
        "leaked-key": "organizations/apikey/find/",
        "members": "organizations/membership/",
        "audit": "organizations/auditentry/",
        "events": f"ingestion/event/{chosen}",
        "event": f"ingestion/event/{gallery.event_id}/change/",
        "subscriptions": "delivery/subscription/",
        "deliveries": f"delivery/delivery/{chosen}",
        "delivery": f"delivery/delivery/{gallery.dead.pk}/change/",
        "dead-letters": "delivery/delivery/dead-letters/",
        "users": "auth/user/",
        "erasures": "events_platform/erasure/",
        "erasure-new": "events_platform/erasure/add/",
    }.items():
        camera.take(name, f"/admin/{path}")
    camera.take("leaked-key-found", "/admin/organizations/apikey/find/", lambda page: _find(page, gallery.spare_key))


def _find(page: Page, plaintext: str) -> None:
    page.locator("[name=pasted]").fill(f'headers = {{"Authorization": "Bearer {plaintext}"}}')
    page.get_by_role("button", name="Find").click()
    page.get_by_text("Revoking it permanently locks out").wait_for()


def _portal(camera: Camera, gallery: Gallery) -> None:
    camera.tab.go(gallery.portal_link)
    one = f"/portal/subscriptions/{gallery.webhook.pk}/"
    camera.show("portal", one)
    for name, path in {
        "subscriptions": "/portal/",
        "subscription-new": "/portal/subscriptions/new",
        "subscription": one,
        "subscription-edit": f"{one}edit",
        "subscription-delete": f"{one}delete",
        "test": f"{one}test",
        "secret": f"{one}secret",
        "secret-rotate": f"{one}secret/rotate",
        "deliveries": f"{one}deliveries/",
        "delivery": f"{one}deliveries/{gallery.dead.pk}/",
    }.items():
        camera.take(name, path)
    camera.tab.page.context.clear_cookies()
    camera.take("no-session", "/portal/")


def _accounts(camera: Camera, gallery: Gallery) -> None:
    camera.take("overview", "/account/")
    camera.take("two-factor-off", "/account/second-factor/")
    camera.take("app", "/account/second-factor/app/")
    camera.take("password", "/account/password/")
    _take_second_factor(camera, gallery.operator)
    camera.take("confirm", "/account/confirm/")
    camera.tab.page.context.clear_cookies()
    camera.take("sign-in", "/console/sign-in/")
    camera.take("admin-sign-in", "/admin/login/")
    camera.take("password-reset", "/account/password/reset/")
    camera.take("password-reset-sent", "/account/password/reset/sent/")
    gallery.operator.refresh_from_db()  # signing in has changed it
    token, uid = default_token_generator.make_token(gallery.operator), force_bytes(gallery.operator.pk)
    camera.take("password-new", f"/account/password/reset/{urlsafe_base64_encode(uid)}/{token}/")
    for _ in range(10):
        Client().post("/console/sign-in/", {"username": "auditor", "password": "wrong"})
    camera.take("locked-out", "/console/sign-in/", _sign_in_wrongly)


def _take_second_factor(camera: Camera, user: User) -> None:
    page, device = camera.tab.page, camera.tab.page.context.new_cdp_session(camera.tab.page)
    device.send("WebAuthn.enable")
    device.send(
        "WebAuthn.addVirtualAuthenticator",
        {"options": {"protocol": "ctap2", "transport": "internal", "hasUserVerification": True, "isUserVerified": True,
                     "hasResidentKey": True}},
    )  # fmt: skip
    camera.take("passkey-new", "/account/second-factor/passkeys/add/")
    page.fill("input[name=name]", "Laptop")
    page.click("#mfa_webauthn_add")
    page.wait_for_selector("textarea")
    Authenticator.objects.filter(user=user, type=Authenticator.Type.RECOVERY_CODES).delete()
    TOTP.activate(user, "JBSWY3DPEHPK3PXP")
    RecoveryCodes.activate(user)
    for name, path in (("two-factor", ""), ("passkeys", "passkeys/"), ("recovery-codes", "codes/"),
                       ("app-remove", "app/remove/"), ("second-factor-asked", "confirm/")):  # fmt: skip
        camera.take(name, f"/account/second-factor/{path}")
    session_of(user)
    camera.take("sessions", "/account/sessions/")


def _sign_in_wrongly(page: Page) -> None:
    page.fill("input[name=username]", "auditor")
    page.fill("input[name=password]", "wrong")
    with page.expect_navigation():
        page.keyboard.press("Enter")
