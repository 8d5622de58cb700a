"""What strangers and tenants try against people's pages and the server; and that the threat model names real tests."""

import ast
import logging
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.module_loading import import_string

from ingestion.models import Event
from ingestion.operations import process_outbox
from observability.metrics.exposition import may_read
from organizations.keys.key_format import hash_key
from organizations.models import AuditEntry, Organization
from tests.conftest import Tenant
from tests.factories import UserFactory
from tests.support.http.clients import make_sender
from tests.support.pages import files_of_tests
from tests.support.people.console_data import browser_of, make_member
from tests.support.servers import serve

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "docs" / "security.md"
TEST = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}'-alert(1)-'")


def rows_of_model() -> list[str]:
    """The lines of the table of threats."""
    lines = MODEL.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| Threat |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(line)
    return rows


def test_each_threat_names_a_test_that_exists() -> None:
    rows = rows_of_model()
    assert len(rows) >= 30
    for row in rows:
        named = TEST.findall(row)
        assert named, f"no test: {row}"
        for file, name in named:
            [path] = files_of_tests(file)
            tree = ast.parse(path.read_text())
            functions = {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
            assert name in functions, f"{file} has no {name}"


# --- Text of tenants on pages ----------------------------------------------------------------------------------


@pytest.fixture
def evil(tenant: Tenant, settings: Any) -> Tenant:
    """A tenant whose every text tries to become markup."""
    settings.WEBHOOK_ALLOW_HTTP = True
    script, image, quote = EVIL
    Organization.objects.filter(pk=tenant.organization.pk).update(name=script)
    event = {"type": "evil", "subject": image, "source": script, "data": {script: image, "deep": [quote, script]}}
    answer = tenant.post("/api/v1/events", event, **{"User-Agent": script, "X-Evil": image})
    assert answer.status_code == 202, answer.content
    for body in (
        {"kind": "webhook", "url": "http://93.184.215.14/hook?a=<script>alert(1)</script>", "description": script,
         "name": image, "headers": {"X-Evil": script}, "filter": {"data.a": [quote]}},
        {"kind": "inbox", "name": "evil", "description": image},
    ):  # fmt: skip
        tenant.post("/api/v1/subscriptions", body, **{"User-Agent": script})
    tenant.request("PATCH", "/api/v1/event-types/evil", {"description": script})
    tenant.post("/api/v1/api-keys", {"name": image, "scopes": ["events:read"]}, **{"User-Agent": script})
    process_outbox()
    return tenant


def test_no_text_of_a_tenant_becomes_markup(evil: Tenant) -> None:
    organization = Organization.objects.get(pk=evil.organization.pk)
    member = browser_of(make_member(organization, first_name=EVIL[0], email="a@example.com"))
    root = browser_of(UserFactory.create(is_staff=True, is_superuser=True))
    seen = 0
    for browser, path in [(member, path) for path in _console_paths(evil)] + [
        (root, path) for path in _admin_paths(evil)
    ]:
        answer = browser.get(path)
        assert answer.status_code == 200, path
        page = answer.content.decode()
        assert "<script>alert" not in page, path
        assert "<img src=x" not in page, path
        seen += "alert(1)" in page
    assert seen >= 12  # the texts are on these pages, and harmless


def _console_paths(tenant: Tenant) -> list[str]:
    home = f"/console/o/{tenant.organization.slug}"
    lists = [
        "",
        "events/",
        "live/",
        "keys/",
        "subscriptions/",
        "event-types/",
        "members/",
        "audit/",
        "usage/",
        "exports/",
    ]
    found = [f"{home}/{name}" for name in lists]
    found += [f"{home}/events/{event['id']}/" for event in tenant.get("/api/v1/events").json()["data"]]
    found += [f"{home}/subscriptions/{each['id']}/" for each in tenant.get("/api/v1/subscriptions").json()["data"]]
    return [*found, f"{home}/events/?subject={EVIL[1]}", f"{home}/audit/?actor={EVIL[0]}", "/console/organizations/"]


def _admin_paths(tenant: Tenant) -> list[str]:
    found = []
    models = {
        "ingestion/event": "/api/v1/events", "delivery/subscription": "/api/v1/subscriptions",
        "organizations/apikey": "/api/v1/api-keys",
    }  # fmt: skip
    for model, path in models.items():
        found.append(f"/admin/{model}/")
        found += [f"/admin/{model}/{each['id']}/change/" for each in tenant.get(path).json()["data"]]
    entry = AuditEntry.objects.for_organization(tenant.organization.pk).latest("pk")
    found += [f"/admin/organizations/organization/{tenant.organization.pk}/change/", "/admin/organizations/auditentry/",
              f"/admin/organizations/auditentry/{entry.pk}/change/", "/admin/ingestion/eventtype/"]  # fmt: skip
    return found


# --- Signing in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/console/sign-in/", "/admin/login/"])
@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:a(1)"])
def test_signing_in_leads_to_no_other_site(db: None, path: str, target: str) -> None:
    user = UserFactory.create(is_staff=True)
    user.set_password("correct horse battery")
    user.save()
    answer = Client().post(path, {"username": user.username, "password": "correct horse battery", "next": target})
    assert answer.status_code == 302
    assert (urlsplit(answer["Location"]).netloc, answer["Location"][:2]) in {("", "/c"), ("", "/a")}


def test_signing_in_gives_a_new_session(db: None) -> None:
    user = UserFactory.create()
    user.set_password("correct horse battery")
    user.save()
    browser = Client()
    browser.cookies[django_settings.SESSION_COOKIE_NAME] = "a" * 32
    browser.post("/console/sign-in/", {"username": user.username, "password": "correct horse battery"})
    assert browser.cookies[django_settings.SESSION_COOKIE_NAME].value not in ("", "a" * 32)


def test_a_wrong_name_and_a_wrong_password_look_the_same_and_cost_the_same(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = UserFactory.create()
    user.set_password("correct horse battery")
    user.save()
    hashed: list[str] = []
    hasher = import_string(django_settings.PASSWORD_HASHERS[0])
    encode = hasher.encode

    def count(*given: Any) -> str:
        hashed.append("")
        return str(encode(*given))

    monkeypatch.setattr(hasher, "encode", count)
    pages = []
    for name in (user.username, "nobody-at-all"):
        page = Client().post("/console/sign-in/", {"username": name, "password": "wrong"}).content.decode()
        pages.append(re.sub(r'value="[^"]{60,}"', "", page).replace(name, "NAME"))
    assert pages[0] == pages[1]
    assert len(hashed) == 2


def test_another_host_name_is_refused(tenant: Tenant) -> None:
    for path in ("/console/sign-in/", "/api/v1/events", "/account/password/reset/"):
        assert Client(raise_request_exception=False).get(path, HTTP_HOST="evil.example").status_code == 400


def test_every_form_of_every_page_needs_its_token(db: None) -> None:
    """But for the API, which knows no cookies."""
    browser = Client(enforce_csrf_checks=True)
    user = UserFactory.create(is_staff=True, is_superuser=True)
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    for path in _every_path():
        assert browser.post(path, {"post": "yes"}).status_code in {403, 405, 404}, path


def _every_path() -> list[str]:
    def walk(patterns: list[Any], prefix: str) -> list[str]:
        found = []
        for each in patterns:
            if isinstance(each, URLResolver):
                found += walk(each.url_patterns, prefix + str(each.pattern))
            elif isinstance(each, URLPattern):
                found.append(prefix + str(each.pattern))
        return found

    plain = [re.sub(r"<int:[^>]+>", "1", path) for path in walk(get_resolver().url_patterns, "/")]
    ids = [re.sub(r"<[^>]+>", "01900000-0000-7000-8000-000000000000", path) for path in plain]
    return [path for path in ids if path.startswith(("/console/", "/account/", "/admin/")) and "(?P" not in path]


# --- The API ---------------------------------------------------------------------------------------------------


def test_a_key_in_a_url_is_no_key_and_in_no_log(tenant: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for query in (f"api_key={tenant.plaintext}", f"access_token={tenant.plaintext}", f"key={tenant.plaintext}"):
        answer = Client().get(f"/api/v1/events?{query}")
        assert answer.status_code == 401
        assert tenant.plaintext not in answer.content.decode()
    lines = [str(vars(record)) for record in caplog.records if record.name == "requests"]
    assert len(lines) == 3
    assert not [line for line in lines if tenant.plaintext in line]


def test_secrets_are_compared_in_constant_time(tenant: Tenant, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of its characters fit: each is compared as a whole."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    assert tenant.get("/api/v1/organization").status_code == 200
    assert (tenant.key.key_hash, hash_key(tenant.plaintext)) in compared
    settings.METRICS_TOKEN = "t" * 32
    assert not may_read(authorization="Bearer " + "t" * 31, address="192.0.2.1", forwarded=False)
    assert compared[-1] == (b"t" * 31, b"t" * 32)


@pytest.mark.parametrize("value", ["' OR 1=1 --", "a'; DROP TABLE ingestion_event; --", "%' OR '1'='1", "\\'", "$$"])
def test_sql_in_a_filter_is_text(tenant: Tenant, other_tenant: Tenant, value: str) -> None:
    other_tenant.post("/api/v1/events", {"type": "secret", "data": "of the other", "subject": "s"})
    for name in ("subject", "source", "type"):
        answer = tenant.client.get(
            "/api/v1/events", {name: value}, headers={"Authorization": f"Bearer {tenant.plaintext}"}
        )
        assert answer.status_code in {200, 422}
        assert "of the other" not in answer.content.decode()
    browser = browser_of(make_member(tenant.organization))
    home = f"/console/o/{tenant.organization.slug}/"
    for path, given in (
        ("events/", {"subject": value, "type": value}),
        ("events/", {"path": f"a.{value}", "value": value}),
        ("search/", {"q": value}),
        ("search/", {"q": f"a = {value}"}),
    ):
        page = browser.get(home + path, given)
        assert page.status_code in {200, 422}
        assert "of the other" not in page.content.decode()
    assert Event.objects.for_organization(other_tenant.organization.pk).count() == 1


def test_a_form_has_a_bound_of_fields(db: None) -> None:
    fields = {f"field-{number}": "1" for number in range(1_100)}
    assert Client(raise_request_exception=False).post("/console/sign-in/", fields).status_code == 400


def test_static_files_end_at_their_folder(db: None) -> None:
    for path in ("/static/../manage.py", "/static/%2e%2e/manage.py", "/static/..%2fmanage.py", "/static//etc/passwd"):
        answer = Client(raise_request_exception=False).get(path)
        assert answer.status_code in {400, 404}, path


# --- The server, byte by byte ----------------------------------------------------------------------------------


def talk(base_url: str, request: bytes) -> bytes:
    """All that the server says until it closes, or the first 64 KiB."""
    host, port = urlsplit(base_url).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=15) as peer:
        said = b""
        try:
            peer.sendall(request)
            while len(said) < 65_536 and (part := peer.recv(65_536)):
                said += part
        except (ConnectionResetError, BrokenPipeError):
            pass
        return said


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_requests_that_are_too_big_or_ambiguous_are_refused_and_the_server_goes_on(kind: Any) -> None:
    many = b"".join(b"X-%d: a\r\n" % number for number in range(400))
    tail = b"Host: 127.0.0.1\r\nConnection: close\r\n"
    post = b"POST /api/v1/events HTTP/1.1\r\n" + tail
    chunk = b"Transfer-Encoding: chunked\r\n"
    refused = {
        "a long line": b"GET /health/live?" + b"a" * 100_000 + b" HTTP/1.1\r\n" + tail + b"\r\n",
        "many fields": b"GET /health/live HTTP/1.1\r\n" + tail + many + b"\r\n",
        "a long field": b"GET /health/live HTTP/1.1\r\n" + tail + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n",
        "two lengths": post + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "length and chunks": b"POST /api/v1/events HTTP/1.1\r\n"
        + tail
        + b"Content-Length: 5\r\n"
        + chunk
        + b"\r\n0\r\n\r\n",
        "chunks not last": b"POST /api/v1/events HTTP/1.1\r\n"
        + tail
        + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "a space before the colon": b"GET /health/live HTTP/1.1\r\n" + tail + b"X-Odd : 1\r\n\r\n",
        "a bad chunk": post + chunk + b"\r\nzz\r\n\r\n",
        "a negative length": post + b"Content-Length: -1\r\n\r\n",
    }
    with serve(kind, workers=1) as server:
        sender = make_sender(server.base_url)
        for what, request in refused.items():
            said = talk(server.base_url, request)
            status = said[:12].decode(errors="replace")
            assert re.fullmatch(r"HTTP/1\.1 4\d\d|", status), (what, said[:200])
            assert said.count(b"HTTP/1.1 ") <= 1, what
        too_long = sender.client.get("/api/v1/events?subject=" + "a" * 5_000)
        assert 400 <= too_long.status < 500, too_long.body
        parameters = sender.client.get("/api/v1/events?" + "&".join(f"a{number}=1" for number in range(1_500)))
        assert 400 <= parameters.status < 500, parameters.body
        assert server.process.poll() is None
        assert sender.client.get("/api/v1/organization").status == 200
        assert sender.client.post("/api/v1/events", {"type": "a", "data": 1}).status == 202
