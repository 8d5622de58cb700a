"""What protects browsers, on every URL that there is: each page of console, account and admin, the API, and errors."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client

from tests.conftest import Tenant
from tests.support.people.every_page import (
    PARAMETER,
    PASSWORD,
    SIGNED_OUT,
    World,
    make_world,
    path_of,
    routes,
    session_of,
)

ELSEWHERE = [
    "/", "/no-such-page", "/console/no-such-page", "/docs/errors", "/api/docs", "/api/schema", "/api/v1/events",
    "/api/v1/no-such-thing", "/health/live", "/health/ready", "/metrics", "/admin/jsi18n/", "/account/sign-in/",
    "/account/second-factor/codes/file/",
]  # fmt: skip
NOBODY = "01900000-0000-7000-8000-000000000000"
# Signing out would end the walk; a pattern that matches anything is no path.
NO_PAGE_AT_ALL = re.compile(r"logout|sign-out|\(\?P")


@pytest.fixture
def world(tenant: Tenant, settings: Any) -> World:
    settings.SECURE_HSTS_SECONDS, settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = 3600, True
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    return make_world(tenant)


def answers(world: World) -> Iterator[tuple[str, Any]]:
    """`(path, answer)` of everything, over https."""
    signed_in, stranger = Client(raise_request_exception=False), Client(raise_request_exception=False)
    signed_in.cookies[django_settings.SESSION_COOKIE_NAME] = session_of(world.person)["value"]
    for name, route in routes():
        # Of what the world has none there is an error page, which is protected as well.
        path = path_of(world, name, route) if has_ids(world, name, route) else f"/{PARAMETER.sub(NOBODY, route)}"
        if not NO_PAGE_AT_ALL.search(path):
            yield path, (stranger if name in SIGNED_OUT else signed_in).get(path, secure=True)
    for path in ELSEWHERE:
        yield path, signed_in.get(path, secure=True)


def has_ids(world: World, name: str, route: str) -> bool:
    try:
        path_of(world, name, route)
    except KeyError:
        return False
    return True


def test_every_answer_protects_its_reader(world: World) -> None:
    wrong = []
    for path, answer in answers(world):
        said = {name.lower(): value for name, value in answer.headers.items()}
        expected = {
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "strict-transport-security": "max-age=3600; includeSubDomains",
        }
        wrong += [f"{path} {name}: {said.get(name)}" for name, value in expected.items() if said.get(name) != value]
        if "camera=()" not in said.get("permissions-policy", ""):
            wrong.append(f"{path}: no permissions policy")
        wrong += [f"{path}: {what}" for what in weak_policy(path, said.get("content-security-policy", ""))]
        is_private = path.startswith(("/console/", "/account/", "/admin/", "/portal/", "/api/v1/"))
        if is_private and "no-store" not in said.get("cache-control", ""):
            wrong.append(f"{path}: may be stored")
    assert not wrong, "\n".join(wrong)


def weak_policy(path: str, policy: str) -> list[str]:
    """What is wrong with a Content-Security-Policy. The docs page alone may set styles on its elements."""
    rules = {words[0]: words[1:] for words in (rule.split() for rule in policy.split(";")) if words}
    if path == "/api/docs":
        rules["style-src"] = [word for word in rules.get("style-src", []) if word != "'unsafe-inline'"]
    wrong = [
        f"{name} {words}" for name, words in rules.items() if any("unsafe" in word or "*" in word for word in words)
    ]
    nothing = ("default-src", "frame-ancestors", "base-uri")
    return wrong + [f"{name} is not 'none'" for name in nothing if rules.get(name) != ["'none'"]]


def test_cookies_are_kept_from_scripts_and_other_sites(world: World) -> None:
    browser = Client()
    browser.get("/console/sign-in/", secure=True)
    browser.post("/console/sign-in/", {"username": world.viewer.username, "password": PASSWORD}, secure=True)
    assert len(browser.cookies) == 2
    for cookie in browser.cookies.values():
        assert (cookie["secure"], cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (
            True, True, "Lax", "/", "",
        ), cookie.key  # fmt: skip


def test_a_fault_says_nothing_and_is_protected_too(
    world: World, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the-inner-secret")

    monkeypatch.setattr("console.overview.views.render_page", fail)
    browser = Client(raise_request_exception=False)
    browser.cookies[django_settings.SESSION_COOKIE_NAME] = session_of(world.person)["value"]
    answer = browser.get(world.home, secure=True)
    assert answer.status_code == 500
    assert b"the-inner-secret" not in answer.content
    assert not weak_policy(world.home, answer["Content-Security-Policy"])
    assert "no-store" in answer["Cache-Control"]


def test_answers_that_show_a_secret_are_stored_nowhere(tenant: Tenant, settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    body = {"kind": "webhook", "url": "http://93.184.215.14/hook"}
    created = tenant.post("/api/v1/subscriptions", body)
    key = tenant.post("/api/v1/api-keys", {"name": "New", "scopes": ["events:read"]})
    rotated = tenant.post(f"/api/v1/api-keys/{key.json()['id']}/rotate", {})
    for answer in (created, key, rotated):
        assert answer.status_code < 300, answer.content
        assert answer["Cache-Control"] == "private, no-store"
