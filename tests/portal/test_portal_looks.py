"""How a portal looks, and who may embed it."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from organizations.models import AuditEntry, Organization, Role
from portal.models import PortalAppearance
from portal.settings.rules import (
    check_accent,
    check_accent_dark,
    check_logo_url,
    check_origin,
    contrast,
    ink_on,
    origin_of,
)
from tests.conftest import Tenant
from tests.support.people.console_data import browser_of, make_member
from tests.support.people.portal_visits import enter, make_link

LOOKS = {
    "name": "Harbour Books",
    "logo_url": "https://cdn.example.com/logo.png?v=1;2",
    "accent": "#2f5bd0",
    "accent_dark": "#8fb0ff",
    "frame_ancestors": "https://app.example.com\nhttps://*.shop.example.com:8443",
}


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "https://a.b:8443",
        "https://*.example.com",
        "http://localhost:3000",
        "http://127.0.0.1",
    ],
)
def test_origins(origin: str) -> None:
    check_origin(origin)


@pytest.mark.parametrize(
    "text",
    [
        "*", "https:", "https://*", "https://*.com", "http://app.example.com", "https://app.example.com/", "'self'",
        "https://a.com; script-src *", "https://a.com https://b.com", "https://A.com", "https://a.com\n", "https://a..b",
    ],
)  # fmt: skip
def test_what_is_no_origin_never_gets_into_a_policy(text: str) -> None:
    with pytest.raises(ValidationError):
        check_origin(text)


def test_logos_are_images_over_https() -> None:
    check_logo_url("https://cdn.example.com/a/logo.png?v=1")
    for text in ("http://a.com/x.png", "https://a.com", "https://u@a.com/x", "javascript:alert(1)", "https://a;b/x"):
        with pytest.raises(ValidationError):
            check_logo_url(text)
    assert origin_of("https://cdn.example.com:8443/a;b,c") == "https://cdn.example.com:8443"


def test_colours_can_be_read() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    check_accent("#2f5bd0")
    check_accent_dark("#8fb0ff")
    for check, color in [(check_accent, "#8fb0ff"), (check_accent_dark, "#2f5bd0"), (check_accent, "red"),
                         (check_accent, "#2f5bd"), (check_accent, "#fff")]:  # fmt: skip
        with pytest.raises(ValidationError):
            check(color)
    for number in range(0, 256, 5):
        color = f"#{number:02x}{255 - number:02x}80"
        assert contrast(color, ink_on(color)) >= 4.5


def set_looks(organization: Organization, **values: str) -> Any:
    owner = browser_of(make_member(organization, Role.OWNER))
    return owner.post(f"/console/o/{organization.slug}/portal/", {**LOOKS, **values})


def test_the_owner_says_how_it_looks_and_it_does(tenant: Tenant, settings: Any) -> None:
    assert set_looks(tenant.organization, accent="#ffffff", frame_ancestors="*").status_code == 422
    assert set_looks(tenant.organization).status_code == 302
    entry = AuditEntry.objects.get(action="portal.updated")
    assert entry.changes["accent"] == ["", "#2f5bd0"]
    visitor = enter(tenant)
    page = visitor.get()
    text = page.content.decode()
    assert "Harbour Books" in text
    assert 'src="https://cdn.example.com/logo.png?v=1;2"' in text
    policy = page["Content-Security-Policy"]
    assert "frame-ancestors https://app.example.com https://*.shop.example.com:8443" in policy
    assert "img-src 'self' data: https://cdn.example.com" in policy
    assert "script-src 'self'" in policy.split("; ")
    assert "X-Frame-Options" not in page
    theme = visitor.get("theme.css")
    assert theme["Content-Type"] == "text/css"
    assert "--accent: #2f5bd0; --on-accent: #ffffff" in theme.content.decode()
    assert "--accent: #8fb0ff; --on-accent: #000000" in theme.content.decode()
    # Nothing else opens up.
    other = Client().get("/console/sign-in/")
    assert other["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in other["Content-Security-Policy"]


def test_an_organization_that_names_no_site_is_embedded_by_none(tenant: Tenant) -> None:
    page = enter(tenant).get()
    assert page["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in page["Content-Security-Policy"]
    assert "no-store" in page["Cache-Control"]


@pytest.mark.parametrize(("ancestors", "same_site"), [("", "Lax"), ("https://app.example.com", "None; Partitioned")])
def test_its_cookie_is_its_own(tenant: Tenant, settings: Any, ancestors: str, same_site: str) -> None:
    settings.SESSION_COOKIE_SECURE = True
    set_looks(tenant.organization, frame_ancestors=ancestors)
    client = Client()
    opened = client.get(make_link(tenant), secure=True)
    assert opened["Location"] == reverse("portal:subscriptions")
    [cookie] = opened.cookies.values()
    assert (cookie.key, cookie["path"], cookie["secure"], cookie["httponly"], cookie["samesite"]) == (
        "__Secure-portal", "/portal/", True, True, same_site,
    )  # fmt: skip
    assert len(cookie.value) > 40
    assert client.get("/portal/", secure=True).status_code == 200


def test_who_may_not_manage_the_organization_does_not_see_its_settings(tenant: Tenant) -> None:
    admin = browser_of(make_member(tenant.organization, Role.ADMIN))
    assert admin.get(f"/console/o/{tenant.organization.slug}/portal/").status_code == 403
    owner = browser_of(make_member(tenant.organization, Role.OWNER))
    visitor = enter(tenant)
    assert "1 session is open" in owner.get(f"/console/o/{tenant.organization.slug}/portal/").content.decode()
    owner.post(f"/console/o/{tenant.organization.slug}/portal/end")
    assert visitor.get().status_code == 403


def test_the_admin_sets_it_too(tenant: Tenant, admin_client: Client) -> None:
    organization = {"organization": str(tenant.organization.pk)}
    added = admin_client.post("/admin/portal/portalappearance/add/", {**LOOKS, **organization})
    assert added.status_code == 302, added.context["errors"]
    found = PortalAppearance.objects.get()
    assert found.frame_ancestors == ["https://app.example.com", "https://*.shop.example.com:8443"]
    path = f"/admin/portal/portalappearance/{found.pk}/change/"
    version = admin_client.get(path).context["version"]
    changed = admin_client.post(path, {**LOOKS, "name": "Other", "version": version})
    assert changed.status_code == 302, changed.context["errors"]
    assert PortalAppearance.objects.get().name == "Other"
    assert AuditEntry.objects.filter(action="portal.updated").count() == 2
