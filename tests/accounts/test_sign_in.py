"""Signing in under attack: what is bounded, what may be typed, and what goes on while Redis is away."""

import os
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from unittest import mock
from urllib.parse import urlencode, urlsplit

import pytest
from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.internal.auth import STATE_SESSION_KEY
from django.conf import settings as django_settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password
from django.contrib.auth.models import User
from django.core import mail
from django.core.cache import caches
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.second_factor.passkey_forms import AddPasskeyForm, ConfirmPasskeyForm
from accounts.sign_in.hashing import _hashing, hashed
from accounts.sign_in.limits import of_addresses
from accounts.sign_in.page import of_accounts
from core import bounds
from notifications.invitations import invitation_link
from organizations.operations import invite_member
from rest.doors.shares import TooMuchError
from rest.doors.threads import in_place
from tests.conftest import Tenant
from tests.factories import TESTER, UserFactory
from tests.support.http.clients import make_sender
from tests.support.people.accounts import PASSWORD, code_of, make_user, set_up, sign_in
from tests.support.servers import serve

PAGES = ["/console/sign-in/", "/admin/login/"]
BOUNDED = "accounts.sign_in.hashing.BoundedPasswordHasher"


@pytest.fixture
def person(db: None) -> User:
    return make_user("casey", is_staff=True, is_superuser=True)


@pytest.fixture
def _without_redis(settings: Any) -> None:
    """Nothing listens on this port."""
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}}


def try_in(typed: str, password: str = PASSWORD, path: str = PAGES[0], **extra: Any) -> Any:
    return Client(raise_request_exception=False).post(path, {"username": typed, "password": password}, **extra)


# --- How much at once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.django_db
def test_whoever_comes_when_too_much_is_hashed_is_told_to_come_again(settings: Any, path: str) -> None:
    settings.PASSWORD_HASHERS = [BOUNDED]
    with mock.patch.object(PBKDF2PasswordHasher, "iterations", 10):
        make_user("casey")
    for typed in ("casey", "nobody"):
        with hashed.hold(None, bounds.MAX_HASHES):
            answer = try_in(typed, "wrong", path)
        assert answer.status_code == 503
        assert answer["Retry-After"] == "5"
        assert "then send the form again" in answer.content.decode()


def test_every_hash_comes_through_the_bound_and_stays_one_of_djangos(settings: Any) -> None:
    settings.PASSWORD_HASHERS = [BOUNDED]
    with mock.patch.object(PBKDF2PasswordHasher, "iterations", 10):
        made = make_password(PASSWORD)
        with hashed.hold(None, bounds.MAX_HASHES), pytest.raises(TooMuchError):
            check_password(PASSWORD, made)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    assert check_password(PASSWORD, made)


def test_whoever_waits_for_a_hash_keeps_no_place_from_others(settings: Any) -> None:
    """Three addresses whose sign-ins wait would have all places for pages."""
    settings.PASSWORD_HASHERS = [BOUNDED]
    left: list[tuple[bool, int]] = []
    with mock.patch.object(PBKDF2PasswordHasher, "iterations", 10):
        with in_place(lambda *, keeps_share: left.append((keeps_share, hashed.used))):
            check_password("wrong", make_password(PASSWORD))
        assert left == [(True, 1)]
    assert hashed.used == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_who_hashes_has_less_of_a_claim_on_the_cpu() -> None:
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    hashing = _hashing.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    assert hashing == min(19, own + 10)


def test_one_address_holds_no_more_than_its_share(person: User) -> None:
    with of_addresses.hold("2001:db8::", 4):
        for address, status in (("2001:db8::7", 429), ("2001:db8::ffff:0:1", 429), ("2001:db8:0:1::7", 302)):
            assert try_in("casey", REMOTE_ADDR=address).status_code == status, address
    with of_addresses.hold("192.0.2.7", 4):
        assert try_in("casey", REMOTE_ADDR="::ffff:192.0.2.7").status_code == 429
        assert try_in("casey", REMOTE_ADDR="192.0.2.8").status_code == 302


@pytest.mark.parametrize("path", PAGES)
def test_one_account_is_tried_by_few_at_once_under_whatever_name(person: User, path: str) -> None:
    with of_accounts.hold("casey", 2):
        for typed in ("casey", "CASEY", "Casey@example.com"):
            assert try_in(typed, path=path).status_code == 429, typed
        assert try_in("nobody", path=path).status_code == 200
    with of_accounts.hold("nobody", 2):
        assert try_in("NOBODY", path=path).status_code == 429


def test_one_address_sends_so_many_forms_in_a_minute_whatever_they_hold(tenant: Tenant, settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"login": "3/m/ip"}
    link = urlsplit(invitation_link(invite(tenant))).path
    for path in ("/console/sign-in/", "/account/password/reset/", link):
        assert Client().post(path, {"username": path}).status_code != 429, path
    for path in (*PAGES, "/account/password/reset/", "/account/second-factor/confirm/", link):
        answer = Client().post(path, {"username": path})
        assert (answer.status_code, answer["Retry-After"]) == (429, "60"), path
    assert Client().post(link, {}, REMOTE_ADDR="192.0.2.9").status_code == 422
    assert Client().get("/console/sign-in/").status_code == 200


def invite(tenant: Tenant) -> Any:
    return invite_member(
        organization=tenant.organization,
        email="new@example.com",
        role="member",
        invited_by=UserFactory.create(),
        actor=TESTER,
        now=timezone.now(),
    )


def test_failures_count_for_a_network_and_an_account(person: User) -> None:
    for number, typed in enumerate(["casey", "CASEY", "casey@example.com", "Casey", "cAsey"] * 2):
        try_in(typed, "wrong", REMOTE_ADDR=f"2001:db8::{number:x}")
    assert try_in("casey", REMOTE_ADDR="2001:db8::77").status_code == 429
    assert try_in("casey", REMOTE_ADDR="2001:db8:0:1::1").status_code == 302


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_hashing_and_slow_readers_keep_no_connection_from_others() -> None:
    """With one connection in the pool: whoever kept it would stop everybody."""
    big = "x" * 200_000
    with serve(workers=1, DATABASE_POOL_SIZE="1") as server:
        tenant = make_sender(server.base_url)
        for _ in range(3):
            answer = tenant.client.post("/api/v1/events/batch", [{"type": "a", "data": big} for _ in range(20)])
            assert answer.status == 202, answer.body
        reader = HTTPConnection(urlsplit(server.base_url).netloc, timeout=30)
        reader.request("GET", "/api/v1/events?limit=60", headers={"Authorization": f"Bearer {tenant.client.key}"})
        reader.getresponse()  # its head; twelve megabytes wait behind it
        read: list[int] = []
        tried: list[int] = []
        done = threading.Event()

        def read_on() -> None:
            while not done.is_set():
                read.append(tenant.client.get("/api/v1/subscriptions").status)

        with ThreadPoolExecutor(13) as pool:
            reading = pool.submit(read_on)
            tried += pool.map(lambda number: post_sign_in(server.base_url, f"nobody-{number}"), range(12))
            done.set()
            reading.result()
        reader.close()
    assert len(read) > 5
    assert set(read) == {200}
    assert set(tried) <= {200, 429, 503}
    assert 200 in tried


def post_sign_in(base_url: str, name: str) -> int:
    """As a browser does: the page first, for its token."""
    host = urlsplit(base_url).netloc
    browser = HTTPConnection(host, timeout=60)
    browser.request("GET", "/console/sign-in/")
    page = browser.getresponse()
    cookie, text = (page.getheader("Set-Cookie") or "").partition(";")[0], page.read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', text)
    assert token
    form = urlencode({"csrfmiddlewaretoken": token[1], "username": name, "password": "wrong"})
    kind = "application/x-www-form-urlencoded"
    browser.request("POST", "/console/sign-in/", form, {"Cookie": cookie, "Content-Type": kind})
    answer = browser.getresponse()
    answer.read()
    browser.close()
    return answer.status


# --- What may be typed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_people_sign_in_by_their_address_too(person: User, path: str) -> None:
    for typed in ("casey", "CASEY", "casey@example.com", "Casey@Example.COM"):
        assert try_in(typed, path=path).status_code == 302, typed
    assert try_in("casey@example.com", "wrong", path).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_an_address_that_two_accounts_share_signs_nobody_in(person: User, path: str) -> None:
    User.objects.create_user("other", "CASEY@example.com", PASSWORD, is_staff=True)
    assert try_in("casey@example.com", path=path).status_code == 200
    assert try_in("other", path=path).status_code == 302


def test_an_address_costs_the_same_whether_or_not_somebody_has_it(person: User) -> None:
    counts = []
    for typed in ("casey", "casey@example.com", "nobody", "nobody@example.com"):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page = try_in(typed, "wrong").content.decode()
        asked = [each["sql"] for each in queries if each["sql"].startswith("SELECT") and '"auth_user"' in each["sql"]]
        counts.append((len(asked), re.sub(r'value="[^"]*"', "", page)))
    assert {page for _, page in counts} == {counts[0][1]}
    assert len({number for number, _ in counts}) == 1


PASSKEYS = ['{"id": 1}', "1", "[]", '{"id": "AA", "rawId": "AA", "type": "public-key", "response": {}}', "[" * 60_000]
EVIL = ["a" * 256, "é" * 151, "𝔘" * 200, "a\x00b", "\ud800", "[" * 60_000]


@pytest.mark.parametrize("value", EVIL, ids=[f"{index}" for index in range(len(EVIL))])
def test_no_field_of_a_page_for_people_is_a_fault(person: User, tenant: Tenant, settings: Any, value: str) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"login": "1000/m/ip", "login_failed": "1000/m/ip", "reauthenticate": "1000/m/ip"}
    value = value.encode(errors="surrogatepass").decode(errors="replace")
    link = urlsplit(invitation_link(invite(tenant))).path
    strangers = {
        "/console/sign-in/": ["username", "password", "next"],
        "/admin/login/": ["username", "password", "next"],
        "/account/password/reset/": ["email"],
        "/account/password/reset/MQ/a-b/": ["new_password1", "new_password2"],
        link: ["username", "password1", "password2"],
    }
    for path, fields in strangers.items():
        send(Client(raise_request_exception=False), path, fields, value)
    owner, _ = sign_in(person)
    owner.raise_request_exception = False
    for path, fields in {
        "/account/second-factor/app/": ["code"],
        "/account/second-factor/passkeys/add/": ["name", "credential"],
        "/account/password/": ["old_password", "new_password1", "new_password2"],
        "/account/confirm/": ["password", "next"],
    }.items():
        send(owner, path, fields, value)
    set_up(owner)
    half, _ = sign_in(person)
    half.raise_request_exception = False
    send(half, "/account/second-factor/confirm/", ["code", "next"], value)


def send(client: Client, path: str, fields: list[str], value: str) -> None:
    client.get(path)
    for field in fields:
        answer = client.post(path, {**dict.fromkeys(fields, "x"), field: value})
        assert answer.status_code < 500, (path, field)
    answer = client.post(path, dict.fromkeys(fields, value))
    assert answer.status_code < 500, path


@pytest.mark.parametrize("told", PASSKEYS, ids=[f"{index}" for index in range(len(PASSKEYS))])
@pytest.mark.parametrize("form", [AddPasskeyForm, ConfirmPasskeyForm])
def test_what_no_device_says_is_a_passkey_that_does_not_fit(person: User, rf: Any, form: Any, told: str) -> None:
    request = rf.post("/")
    request.session = {STATE_SESSION_KEY: {"challenge": "AA", "user_verification": None}}
    with context.request_context(request):
        assert form({"credential": told, "name": "x"}, user=person).errors
        assert form({"credential": told, "name": "x" * 101}, user=person).as_p()


@pytest.mark.parametrize("charset", ["utf-7", "raw_unicode_escape", "zlib", "rot13", "utf-16", "idna"])
def test_a_form_is_utf_8(db: None, charset: str) -> None:
    """Others decode to what cannot be stored, or do not decode at all."""
    body = b'--x\r\nContent-Disposition: form-data; name="username"\r\n\r\n+2AA-\\ud800\r\n--x--\r\n'
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    answer = Client(raise_request_exception=False).generic("POST", PAGES[0], body, kind)
    assert answer.status_code == 400


@pytest.mark.parametrize("key", [r'"\000\000\000\000\000\000\000\000"', "a" * 5000, '"\\377\\377\\377\\377abcdef"'])
def test_a_cookie_that_no_session_has_is_none(db: None, key: str) -> None:
    cookie = f"{django_settings.SESSION_COOKIE_NAME}={key}"
    answer = Client(raise_request_exception=False).get("/console/", headers={"Cookie": cookie})
    assert answer.status_code == 302


# --- Without Redis ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_without_redis")
def test_the_second_factor_works_and_is_as_strict_without_redis(person: User) -> None:
    secret = set_up(sign_in(person)[0])
    code = code_of(secret, 1)
    confirm = "/account/second-factor/confirm/"
    assert sign_in(person)[0].post(confirm, {"code": code}).status_code == 302
    caches["default"].clear()  # as another process, or one that was started again
    assert sign_in(person)[0].post(confirm, {"code": code}).status_code == 200
    client, _ = sign_in(person)
    for number in range(6):
        client.post(confirm, {"code": f"{number:06}"})
    recovery = Authenticator.objects.get(type=Authenticator.Type.RECOVERY_CODES).wrap().get_unused_codes()[0]
    assert client.post(confirm, {"code": recovery}).status_code == 200


def test_a_code_stays_used_when_redis_has_forgotten_it(person: User) -> None:
    secret = set_up(sign_in(person)[0])
    confirm = "/account/second-factor/confirm/"
    older, code = code_of(secret), code_of(secret, 1)
    assert sign_in(person)[0].post(confirm, {"code": code}).status_code == 302
    caches["default"].clear()
    for again in (code, older, f" {code[:3]} {code[3:]}"):
        assert sign_in(person)[0].post(confirm, {"code": again}).status_code == 200


@pytest.mark.usefixtures("_without_redis")
def test_guessing_is_limited_without_redis(person: User, settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"login": "3/m/ip"}
    assert [try_in("casey", "wrong").status_code for _ in range(4)] == [200, 200, 200, 429]
    form = {"email": "casey@example.com"}
    other = "192.0.2.5"
    assert Client().post("/account/password/reset/", form, REMOTE_ADDR=other).status_code == 302
    assert mail.outbox == []
