"""Every page of the console, of people's accounts, of the admin and of the portal, in a real browser.

On a desk and on a phone, in both colour schemes: nothing that axe calls serious, nothing wider than the window, no
complaint of the browser, no request to another host, and a link from another page that leads there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page

from delivery.operations import subscription_fields
from delivery.webhooks import guard
from ingestion import queries as event_search
from portal.models import PortalAppearance
from tests.conftest import Tenant
from tests.support.people.every_page import (
    NO_PAGES,
    REFUSED_BY_ADMIN,
    SIGNED_OUT,
    World,
    expired_invitation,
    make_world,
    pages,
    path_of,
    routes,
    session_of,
)
from tests.support.people.people_browser import PHONE, Tab, needs_chromium, open_tab
from tests.support.people.portal_visits import make_link

DESK = {"width": 1280, "height": 860}
# Of axe's rules those that depend on colours and widths.
OF_LOOKS = ("color-contrast", "link-in-text-block", "scrollable-region-focusable")
UNFOLD = "document.querySelectorAll('main details').forEach((part) => (part.open = true))"
LINKED = "[...document.querySelectorAll('a[href]')].map((a) => new URL(a.getAttribute('href'), location).pathname)"
NOBODY = "01900000-0000-7000-8000-000000000000"
pytestmark = [needs_chromium, pytest.mark.django_db(transaction=True), pytest.mark.slow]

# URL name → why no link leads there.
NOT_LINKED = {
    "console:invitation": "a mail does",
    "console:search": "the box in the header does",
    "console:search-all": "the box in the header does",
    "account_reset_password_sent": "the form before it does",
    "account_reset_password_done": "the form before it does",
    "account_reset_password_confirm": "a mail does",
    "account_reauthenticate": "a page that needs it leads there",
    "mfa_activate_totp": "only of an account without an app",
    "mfa_reauthenticate": "a page that needs it leads there",
    "mfa_reauthenticate_webauthn": "a page that needs it leads there",
    "admin:login": "the admin leads there",
    "admin:password_change": "Django's; people change it in their account",
    "admin:password_change_done": "Django's; the form before it does",
    "admin:organizations_organization_resume": "only of an organization that is suspended",
    "console:start": "only of an organization without events",
    "problem-types": "answers of the API do",
}


@dataclass
class Walk:
    """What was wrong, and where links lead."""

    tab: Tab
    found: list[str] = field(default_factory=list)
    linked: dict[str, set[str]] = field(default_factory=dict)

    def look_at(self, path: str, status: int = 200) -> Page:
        """A page by its address, or with another status a page that says what is wrong."""
        before = len(self.tab.complaints)
        answer = self.tab.page.goto(self.tab.base_url + path)
        if answer is None or answer.status != status:
            self.found.append(f"{path}: status {answer and answer.status}")
        if not self.tab.page.locator(
            "a[href^='/console/'], a[href^='/admin/'], a[href^='/portal/'], a[href='/']"
        ).count():
            self.found.append(f"{path}: leads nowhere")
        self.look(path)
        if status >= 400:
            # The browser itself says so when a page is an error.
            noted = self.tab.complaints[before:]
            self.tab.complaints[before:] = [line for line in noted if f"status of {status}" not in line]
        return self.tab.page

    def look(self, name: str) -> None:
        """At the page that is open."""
        page = self.tab.page
        self.linked[urlsplit(page.url).path] = set(page.evaluate(LINKED))
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        self._measure(name)
        page.evaluate(UNFOLD)
        self._measure(f"{name} unfolded")
        page.emulate_media(color_scheme="dark")
        self._note(f"{name} dark, phone", self.tab.barriers(*OF_LOOKS))
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(DESK)  # type: ignore[arg-type]
        self._note(f"{name} light, desk", self.tab.barriers())

    def leads_to(self, path: str) -> bool:
        return any(path in hrefs for page, hrefs in self.linked.items() if page != path)

    def _measure(self, name: str) -> None:
        if (overhang := self.tab.overhang()) > 0:
            self._note(f"{name}, phone", [f"{overhang} px wider than the window"])

    def _note(self, name: str, found: list[str]) -> None:
        self.found += [f"{name}: {each}" for each in found]


@pytest.fixture(autouse=True)
def _any_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)


@pytest.fixture
def world(tenant: Tenant) -> World:
    return make_world(tenant)


@pytest.fixture
def walk(live_server: Any) -> Iterator[Walk]:
    with open_tab(live_server.url, viewport=DESK, timezone_id="Europe/Vienna", locale="en-GB") as tab:
        yield Walk(tab)


def sign_in(walk: Walk, user: User, *, confirmed: bool = True) -> None:
    walk.tab.page.context.clear_cookies()
    cookie: Any = {**session_of(user, confirmed=confirmed), "url": walk.tab.base_url}
    walk.tab.page.context.add_cookies([cookie])


def add_passkey(walk: Walk, world: World) -> None:
    """By clicking: what a passkey says of itself cannot be made up."""
    device = walk.tab.page.context.new_cdp_session(walk.tab.page)
    device.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasUserVerification": True, "isUserVerified": True,
               "hasResidentKey": True}  # fmt: skip
    device.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page = walk.tab.go("/account/second-factor/passkeys/add/")
    page.fill("input[name=name]", "Laptop")
    page.click("#mfa_webauthn_add")
    page.wait_for_url("**/second-factor/")
    world.ids["pk"] = Authenticator.objects.get(type=Authenticator.Type.WEBAUTHN).pk


def test_every_exception_is_of_a_url_that_there_is() -> None:
    assert (NO_PAGES.keys() | NOT_LINKED.keys()) <= {name for name, _ in routes()}
    assert any(REFUSED_BY_ADMIN.fullmatch(name) for name, _ in routes())


@pytest.mark.begin_first
@pytest.mark.parametrize("area", ["console", "account", "admin"])
def test_every_page_is_linked_fits_and_has_no_barrier(world: World, walk: Walk, area: str) -> None:
    sign_in(walk, world.person)
    if area == "account":
        add_passkey(walk, world)
    listed = pages(world, area)
    walk.look_at(world.home)
    for _, path in listed:
        walk.look_at(path)
    unreachable = [name for name, path in listed if name not in NOT_LINKED and not walk.leads_to(path)]
    assert walk.found + unreachable == [], "\n".join(walk.found + unreachable)


def test_every_page_of_the_portal_fits_and_has_no_barrier(world: World, walk: Walk, tenant: Tenant) -> None:
    looks = {"name": "Harbour Books", "accent": "#8a1c5b", "accent_dark": "#f0a6cf"}
    PortalAppearance.objects.create(organization=tenant.organization, **looks)
    read = make_link(tenant, permissions=["read"])
    walk.tab.go(make_link(tenant))
    listed = pages(world, "portal")
    for _, path in listed:
        walk.look_at(path)
    unreachable = [name for name, path in listed if not walk.leads_to(path)]
    one = f"/portal/subscriptions/{world.scene.webhook.pk}/"
    send_wrongly(walk, "/portal/subscriptions/new", {"url": "ftp://example.com"})
    walk.look("a wrong URL")
    walk.look_at(f"/portal/subscriptions/{NOBODY}/", 404)
    walk.tab.go(read)
    walk.look_at(one)
    walk.look_at(f"{one}edit", 403)
    walk.tab.page.click("text=Sign out")
    walk.look("signed out")
    # There is nowhere to go without a link.
    walk.found = [line for line in walk.found if "leads nowhere" not in line]
    assert walk.found + unreachable == [], "\n".join(walk.found + unreachable)


def test_pages_that_are_empty_or_say_what_is_wrong(world: World, walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(walk, world.newcomer)
    empty = f"/console/o/{world.empty.slug}/"
    for path in ("", "start/", "events/", "live/", "subscriptions/", "event-types/", "keys/", "members/", "exports/",
                 "replays/", "usage/", "audit/"):  # fmt: skip
        walk.look_at(empty + path)
    for path in ("/account/", "/account/second-factor/", "/account/second-factor/app/",
                 "/account/second-factor/passkeys/", "/account/sessions/"):  # fmt: skip
        walk.look_at(path)
    sign_in(walk, world.person)
    export = world.ids["export_id"]
    for path in ("events/?type=nothing", "events/?range=never&status=odd&from=yesterday&before=x", "audit/?before=x",
                 "events/?type=invoice.*&path=customer.id&value=cus_42", "subscriptions/?kind=inbox",
                 "audit/?actor=nobody", f"events/{world.scene.failed_id}/"):  # fmt: skip
        walk.look_at(world.home + path)
    walk.look_at(f"{world.home}events/{NOBODY}/", 404)
    walk.look_at(f"{world.home}exports/{export}/download?key=expired", 404)
    walk.look_at(expired_invitation(world), 404)
    walk.look_at("/nowhere/", 404)
    walk.look_at("/console/o/nobody/", 404)
    monkeypatch.setattr(event_search, "TIMEOUT_MS", 20)
    monkeypatch.setattr(event_search, "_PATH", "pg_sleep(1) IS NULL AND data #> %s::text[] IN (%s::jsonb, %s::jsonb)")
    walk.look_at(f"{world.home}events/?path=amount&value=1")
    monkeypatch.setattr("console.usage.views.usage_of", None)
    walk.look_at(f"{world.home}usage/", 500)
    sign_in(walk, world.viewer)
    walk.look_at(f"{world.home}audit/", 403)
    assert walk.found == [], "\n".join(walk.found)


def test_pages_for_people_who_are_not_signed_in(world: World, walk: Walk) -> None:
    for name, route in routes():
        if name in SIGNED_OUT:
            walk.look_at(path_of(world, name, route))
    walk.look_at("/account/password/reset/MQ/none-such/")
    for _ in range(10):
        Client().post("/console/sign-in/", {"username": "sam", "password": "wrong"})
    send_wrongly(walk, "/console/sign-in/", {"username": "sam", "password": "wrong"})
    assert "Too many attempts" in walk.tab.page.inner_text("main")
    walk.look("locked out")
    assert walk.found == [], "\n".join(walk.found)


# --- Forms that were filled in wrongly --------------------------------------------------------------------------------

WRONG = [
    ("subscriptions/new", {"url": "ftp://example.com", "name": "Ledger", "filter": "{", "headers": "nonsense"}),
    ("subscriptions/new", {"url": "", "name": "", "event_types": "invoice.paid\n*.paid"}),
    ("subscriptions/{subscription_id}/edit", {"name": "", "filter": '{"data.amount": {"near": 1}}'}),
    ("subscriptions/{subscription_id}/test", {"type": "no type!", "payload": "{"}),
    ("subscriptions/{subscription_id}/replay",
     {"received_after": "2026-01-02T10:00:30", "received_before": "2026-01-01T10:00:30"}),
    ("subscriptions/{subscription_id}/replay", {"received_after": ""}),
    ("keys/", {"name": ""}),
    ("members/", {"email": "nobody"}),
    ("event-types/new", {"name": "no name!", "schema": "{", "sample": "{"}),
    ("event-types/{type_id}/edit", {"description": "Paid.", "schema": '{"type": "nothing"}'}),
    ("/account/password/", {"old_password": "wrong", "new_password1": "short", "new_password2": "short"}),
    ("/account/second-factor/passkeys/{pk}/", {"name": ""}),
    ("/account/second-factor/confirm/", {"code": "000000"}),
    ("/admin/organizations/organization/add/", {"name": "", "slug": "No Slug"}),
    ("/admin/organizations/organization/{organization_id}/suspend/", {"reason": ""}),
    ("/admin/organizations/apikey/find/", {"pasted": "no key"}),
    ("/admin/events_platform/erasure/add/",
     {"kind": "events", "slug": "none-such", "received_after_0": "yesterday", "type": "a.*"}),
    ("events/", {"path": "customer.id", "value": ""}),
    ("events/", {"path": "", "value": "cus_42"}),
]  # fmt: skip
WRONG_SIGNED_OUT = [
    ("/console/sign-in/", {"username": "sam", "password": "wrong"}),
    ("/console/invitations/{token}/", {"username": "sam", "password1": "a long enough word", "password2": "other"}),
    ("/account/password/reset/", {"email": "nobody"}),
]
SECRETS = {"code", "pasted"}
# Django's admin names no error to the two fields of a time.
UNSAID = """() => [...document.querySelectorAll('[aria-invalid=true]')]
  .filter((field) => !field.closest('.datetime'))
  .filter((field) => ![field, field.closest('fieldset')]
    .flatMap((each) => (each?.getAttribute('aria-describedby') || '').split(' '))
    .some((id) => document.getElementById(id)?.matches('.errorlist')))
  .map((field) => field.name)"""


def send_wrongly(walk: Walk, path: str, values: dict[str, str]) -> None:
    page = walk.tab.go(path)
    before = len(walk.tab.complaints)
    # What the browser checks is left to the server here.
    page.evaluate("document.querySelectorAll('form').forEach((form) => (form.noValidate = true))")
    page.evaluate(UNFOLD)
    for name, value in values.items():
        field = page.locator(f"main [name={name}], #content [name={name}]")
        if field.evaluate("(field) => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    form = page.locator("form", has=page.locator(f"[name={next(iter(values))}]")).last
    with page.expect_navigation():
        form.locator("[type=submit]").first.click()
    walk.tab.complaints[before:] = [line for line in walk.tab.complaints[before:] if "status of 4" not in line]


def check_errors(walk: Walk, path: str, values: dict[str, str]) -> None:
    page = walk.tab.page
    if unsaid := page.evaluate(UNSAID):
        walk.found.append(f"{path}: no words at {unsaid}")
    if not page.locator("[role=alert], .errornote").count():
        walk.found.append(f"{path}: nothing is announced")
    for name, value in values.items():
        field = page.locator(f"main [name={name}], #content [name={name}]")
        if field.get_attribute("type") != "password" and name not in SECRETS and field.input_value() != value:
            walk.found.append(f"{path}: {name} holds {field.input_value()!r}")
    walk.look(f"{path} wrong")


def test_a_form_says_at_each_field_what_is_wrong_and_keeps_what_was_typed(world: World, walk: Walk) -> None:
    sign_in(walk, world.person)
    add_passkey(walk, world)
    ids = {**world.ids, "organization_id": world.scene.organization.pk}
    for path, values in WRONG:
        address = path.format(**ids)
        address = address if address.startswith("/") else world.home + address
        send_wrongly(walk, address, values)
        check_errors(walk, path, values)
    walk.tab.page.context.clear_cookies()
    for path, values in WRONG_SIGNED_OUT:
        send_wrongly(walk, path.format(**ids), values)
        check_errors(walk, path, values)
    assert walk.found == [], "\n".join(walk.found)
