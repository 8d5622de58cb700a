"""People's accounts: signing in, the second factor, sessions, passwords, and what the audit log says of them."""

import re
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import Group, Permission, User
from django.contrib.messages import get_messages
from django.core import mail
from django.test import Client

from accounts.operations import remove_second_factor
from delivery.models import PendingMail
from notifications.mails import send_mails
from organizations.models import AuditEntry, Membership, Role
from tests.factories import TESTER, make_organization
from tests.support.people.accounts import AGENT, PASSWORD, code_of, make_user, set_up, sign_in
from tests.support.people.people_browser import needs_chromium, open_tab


def actions_of(user: User) -> list[str]:
    entries = AuditEntry.objects.filter(target_kind="user", target_id=str(user.pk)).order_by("pk")
    return list(entries.values_list("action", flat=True))


@pytest.fixture
def person(db: None) -> User:
    return make_user()


@pytest.fixture
def staff(db: None) -> User:
    return make_user("sam", is_staff=True, is_superuser=True)


# --- Signing in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/console/sign-in/", "/admin/login/"])
def test_both_sign_in_pages_lock_after_ten_failures(staff: User, path: str) -> None:
    for _ in range(10):
        sign_in(staff, "wrong", path)
    assert sign_in(staff, PASSWORD, path)[1].status_code == 429
    assert sign_in(staff, PASSWORD, path, REMOTE_ADDR="192.0.2.7")[1].status_code == 302


def test_behind_a_proxy_the_lock_is_on_the_address_that_the_proxy_saw(staff: User, settings: Any) -> None:
    settings.TRUSTED_PROXIES = 1
    for number in range(10):
        sign_in(staff, "wrong", HTTP_X_FORWARDED_FOR=f"10.0.0.{number}, 192.0.2.7")
    assert sign_in(staff, HTTP_X_FORWARDED_FOR="203.0.113.1, 192.0.2.7")[1].status_code == 429
    assert sign_in(staff, HTTP_X_FORWARDED_FOR="192.0.2.7, 192.0.2.8")[1].status_code == 302


def test_without_proxies_a_header_changes_no_address(staff: User) -> None:
    for number in range(10):
        sign_in(staff, "wrong", HTTP_X_FORWARDED_FOR=f"192.0.2.{number}")
    assert sign_in(staff, HTTP_X_FORWARDED_FOR="192.0.2.77")[1].status_code == 429


def test_sign_ins_and_failures_are_written_down_with_address_and_agent(person: User) -> None:
    sign_in(person, "wrong")
    client, _ = sign_in(person)
    client.post("/console/sign-out/")
    assert actions_of(person) == ["account.sign_in_failed", "account.signed_in", "account.signed_out"]
    entry = AuditEntry.objects.get(action="account.signed_in")
    assert entry.address == "127.0.0.1"
    assert (entry.user_agent, entry.changes) == (AGENT, {})
    assert PASSWORD not in str(list(AuditEntry.objects.values()))


def test_what_is_typed_as_a_user_name_is_not_kept_unless_there_is_one(db: None) -> None:
    Client().post("/console/sign-in/", {"username": "my-secret-password", "password": "x"})
    assert not AuditEntry.objects.exists()


# --- The second factor -----------------------------------------------------------------------------------------


def test_staff_without_one_are_led_to_set_one_up_when_that_is_required(staff: User, settings: Any) -> None:
    settings.REQUIRE_STAFF_MFA = True
    client, _ = sign_in(staff, path="/admin/login/")
    for path in ("/admin/", "/console/", "/account/sessions/", "/account/password/"):
        assert client.get(path)["Location"].startswith("/account/second-factor/?next="), path
    assert client.get("/account/second-factor/").status_code == 200
    set_up(client)
    assert client.get("/admin/").status_code == 200


def test_others_need_none_and_nobody_on_a_loopback_demo(staff: User, person: User, settings: Any) -> None:
    assert sign_in(staff)[0].get("/admin/").status_code == 200
    settings.REQUIRE_STAFF_MFA = True
    assert sign_in(person)[0].get("/account/").status_code == 200


@pytest.mark.parametrize("path", ["/console/sign-in/", "/admin/login/"])
def test_a_password_alone_opens_nothing_once_there_is_a_second_factor(staff: User, path: str) -> None:
    secret = set_up(sign_in(staff)[0])
    client, _ = sign_in(staff, path=path)
    for closed in ("/admin/", "/console/", "/account/", "/account/password/", "/account/confirm/",
                   "/account/second-factor/", "/account/second-factor/app/remove/", "/account/sessions/",
                   "/account/second-factor/codes/", "/account/second-factor/passkeys/add/"):  # fmt: skip
        assert client.get(closed)["Location"].startswith("/account/second-factor/confirm/"), closed
        assert client.post(closed)["Location"].startswith("/account/second-factor/confirm/"), closed
    assert client.post("/account/second-factor/confirm/", {"code": "000000"}).status_code == 200
    passed = client.post("/account/second-factor/confirm/", {"code": code_of(secret, 1), "next": "/admin/"})
    assert passed["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200
    assert {"account.second_factor_failed", "account.second_factor_confirmed"} <= set(actions_of(staff))


def test_a_code_is_good_once(staff: User) -> None:
    secret = set_up(sign_in(staff)[0])
    code = code_of(secret, 1)
    assert sign_in(staff)[0].post("/account/second-factor/confirm/", {"code": code}).status_code == 302
    assert sign_in(staff)[0].post("/account/second-factor/confirm/", {"code": code}).status_code == 200


def test_guessing_codes_is_limited(staff: User) -> None:
    secret = set_up(sign_in(staff)[0])
    client, _ = sign_in(staff)
    for number in range(12):
        client.post("/account/second-factor/confirm/", {"code": f"{number:06}"})
    assert client.post("/account/second-factor/confirm/", {"code": code_of(secret, 1)}).status_code != 302


def test_a_recovery_code_stands_in_once(staff: User) -> None:
    client, _ = sign_in(staff)
    set_up(client)
    code = client.get("/account/second-factor/codes/").context["unused_codes"][0]
    assert sign_in(staff)[0].post("/account/second-factor/confirm/", {"code": code}).status_code == 302
    assert sign_in(staff)[0].post("/account/second-factor/confirm/", {"code": code}).status_code == 200


def test_secrets_are_encrypted(staff: User) -> None:
    secret = set_up(sign_in(staff)[0])
    assert secret not in str(list(Authenticator.objects.values()))


def test_the_last_second_factor_of_staff_stays_when_it_is_required(staff: User, settings: Any) -> None:
    settings.REQUIRE_STAFF_MFA = True
    client, _ = sign_in(staff)
    set_up(client)
    client.post("/account/second-factor/app/remove/")
    assert Authenticator.objects.filter(type=Authenticator.Type.TOTP).exists()
    settings.REQUIRE_STAFF_MFA = False
    client.post("/account/second-factor/app/remove/")
    assert not Authenticator.objects.exists()
    assert "account.second_factor_removed" in actions_of(staff)


def test_a_superuser_removes_a_lost_second_factor(staff: User, person: User) -> None:
    owner, _ = sign_in(person)
    set_up(owner)
    admin, _ = sign_in(staff)
    admin.post("/admin/auth/user/", {"action": "remove_second_factor", "_selected_action": [person.pk]})
    assert not Authenticator.objects.exists()
    assert owner.get("/account/").status_code == 302
    entry = AuditEntry.objects.filter(action="account.second_factor_removed").get()
    assert entry.actor_label == "sam"
    assert remove_second_factor(user=person, actor=TESTER) == 0


def test_deleting_an_account_asks_with_the_organizations_it_leaves(staff: User, person: User) -> None:
    Membership.objects.create(organization=make_organization(name="Acme"), user=person, role=Role.OWNER)
    admin, _ = sign_in(staff)
    asked = admin.get(f"/admin/auth/user/{person.pk}/delete/").content.decode()
    assert "Owner of Acme" in asked
    assert admin.post(f"/admin/auth/user/{person.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=person.pk).exists()
    assert not Membership.objects.exists()


def test_what_superusers_do_to_accounts_is_written_down(staff: User, person: User) -> None:
    admin, _ = sign_in(staff)
    form = {"username": "casey", "is_active": "on", "is_staff": "on", "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00:00"}  # fmt: skip
    assert admin.post(f"/admin/auth/user/{person.pk}/change/", form).status_code == 302
    new = {
        "usable_password": "true",
        "password1": "another fine long password",
        "password2": "another fine long password",
    }
    assert admin.post(f"/admin/auth/user/{person.pk}/password/", new).status_code == 302
    assert admin.post(f"/admin/auth/user/{person.pk}/delete/", {"post": "yes"}).status_code == 302
    entries = AuditEntry.objects.filter(actor_label="sam", target_label="casey").order_by("pk")
    actions = [entry.action for entry in entries]
    assert actions == ["account.changed", "account.changed", "account.deleted"]
    assert "Staff status" in str(entries[0].changes)
    assert "another fine" not in str(list(AuditEntry.objects.values()))


def test_what_superusers_do_to_groups_is_written_down(staff: User) -> None:
    """The rights of staff come from them."""
    admin, _ = sign_in(staff)
    taken = Permission.objects.get(codename="view_payload").pk
    admin.post("/admin/auth/group/add/", {"name": "readers", "permissions": [taken]})
    group = Group.objects.get(name="readers")
    path = f"/admin/auth/group/{group.pk}/"
    version = admin.get(f"{path}change/").context["version"]
    admin.post(f"{path}change/", {"name": "readers", "version": version})
    admin.post(f"{path}delete/", {"post": "yes"})
    entries = AuditEntry.objects.filter(target_kind="group").order_by("pk")
    assert [entry.action for entry in entries] == ["group.created", "group.changed", "group.deleted"]
    assert {(entry.target_label, entry.actor_label) for entry in entries} == {("readers", staff.username)}


def test_one_cannot_sign_up(db: None) -> None:
    for path in ("/account/signup/", "/account/sign-up/", "/account/login/"):
        assert Client().get(path).status_code == 404


@pytest.mark.parametrize("required", [True, False])
def test_the_last_passkey_of_staff_stays_when_it_is_required(staff: User, settings: Any, required: bool) -> None:
    client, _ = sign_in(staff)
    set_up(client)
    passkey = Authenticator.objects.create(user=staff, type=Authenticator.Type.WEBAUTHN, data={"name": "Laptop"})
    Authenticator.objects.filter(type=Authenticator.Type.TOTP).delete()
    settings.REQUIRE_STAFF_MFA = required
    page = client.post(f"/account/second-factor/passkeys/{passkey.pk}/remove/")
    assert Authenticator.objects.filter(pk=passkey.pk).exists() is required
    if required:
        assert "your last second factor" in str(list(get_messages(page.wsgi_request))[-1])


# --- Mails to the owner ----------------------------------------------------------------------------------------


def test_the_owner_is_told_of_changes_of_the_second_factor(
    person: User, django_capture_on_commit_callbacks: Any
) -> None:
    client, _ = sign_in(person)
    set_up(client)
    with django_capture_on_commit_callbacks(execute=True):
        client.post("/account/second-factor/codes/renew/")
        client.post("/account/second-factor/app/remove/")
    send_mails()
    told = {each.subject.partition(": ")[2]: each for each in mail.outbox}
    removed = told["the authenticator app was removed"]
    assert "an authenticator app was added" in told
    assert "Two-factor authentication was turned off for your account" in removed.body
    assert removed.to == [person.email]


def test_the_owner_is_told_what_an_administrator_did(
    person: User, staff: User, django_capture_on_commit_callbacks: Any
) -> None:
    set_up(sign_in(person)[0])
    send_mails()
    mail.outbox.clear()
    new = "another fine long password"
    admin, _ = sign_in(staff)
    with django_capture_on_commit_callbacks(execute=True):
        admin.post("/admin/auth/user/", {"action": "remove_second_factor", "_selected_action": [person.pk]})
        admin.post(f"/admin/auth/user/{person.pk}/password/",
                   {"usable_password": "true", "password1": new, "password2": new})  # fmt: skip
    send_mails()
    assert [each.subject.partition(": ")[2] for each in mail.outbox] == [
        "the second factor was removed by an administrator",
        "the password was set by an administrator",
    ]
    assert "From:" not in mail.outbox[1].body


def test_a_mail_server_that_is_away_undoes_no_change(
    person: User, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    new = "another fine long password"
    with django_capture_on_commit_callbacks(execute=True):
        form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
        assert sign_in(person)[0].post("/account/password/", form).status_code == 302
    assert send_mails() == 0
    assert PendingMail.objects.count() == 1
    assert sign_in(person, new)[1].status_code == 302


# --- Sessions --------------------------------------------------------------------------------------------------


def test_sessions_are_listed_and_ended(person: User) -> None:
    here, there, elsewhere = (sign_in(person)[0] for _ in range(3))
    assert here.get("/account/sessions/").content.decode().count(AGENT) == 3
    session = UserSession.objects.get(session_key=there.session.session_key)
    here.post(f"/account/sessions/{session.pk}/end/")
    assert there.get("/account/").status_code == 302
    assert elsewhere.get("/account/").status_code == 200
    here.post("/account/sessions/end-others/")
    assert elsewhere.get("/account/").status_code == 302
    assert here.get("/account/").status_code == 200
    assert actions_of(person).count("account.session_ended") == 2


def test_nobody_ends_anothers_session(person: User, staff: User) -> None:
    client, _ = sign_in(person)
    session = UserSession.objects.get()
    assert sign_in(staff)[0].post(f"/account/sessions/{session.pk}/end/").status_code == 404
    assert client.get("/account/").status_code == 200


# --- Passwords -------------------------------------------------------------------------------------------------


def test_a_changed_password_ends_the_other_sessions(person: User) -> None:
    here, there = sign_in(person)[0], sign_in(person)[0]
    new = "another fine long password"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert here.post("/account/password/", form).status_code == 302
    assert here.get("/account/").status_code == 200
    assert there.get("/account/").status_code == 302
    assert len(here.get("/account/sessions/").context["sessions"]) == 1
    assert "account.password_changed" in actions_of(person)


def test_a_password_is_reset_by_mail(person: User) -> None:
    client = Client()
    assert client.post("/account/password/reset/", {"email": person.email}).status_code == 302
    send_mails()
    link = re.search(r"http\S+", str(mail.outbox[0].body))
    assert link is not None
    page = client.get(link[0].replace("http://127.0.0.1:8000", ""), follow=True)
    new = "another fine long password"
    done = client.post(page.request["PATH_INFO"], {"new_password1": new, "new_password2": new})
    assert done["Location"] == "/account/password/reset/done/"
    assert client.get("/account/password/reset/done/").status_code == 200
    assert sign_in(person, new)[1].status_code == 302
    assert "account.password_reset" in actions_of(person)
    assert "does not work" in client.get(link[0].replace("http://127.0.0.1:8000", ""), follow=True).content.decode()


def test_a_reset_says_the_same_for_an_address_that_nobody_has(person: User) -> None:
    known = Client().post("/account/password/reset/", {"email": person.email})
    unknown = Client().post("/account/password/reset/", {"email": "nobody@example.com"})
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert send_mails() == 1


def test_resets_are_limited(person: User) -> None:
    answers = [Client().post("/account/password/reset/", {"email": person.email}).status_code for _ in range(8)]
    assert answers[-1] == 429
    assert len(mail.outbox) < 8


# --- All pages -------------------------------------------------------------------------------------------------

PAGES = [
    "/account/", "/account/password/", "/account/password/reset/", "/account/password/reset/sent/",
    "/account/password/reset/done/", "/account/sessions/", "/account/confirm/", "/account/second-factor/",
    "/account/second-factor/confirm/", "/account/second-factor/app/remove/", "/account/second-factor/passkeys/",
    "/account/second-factor/passkeys/add/", "/account/second-factor/codes/", "/account/second-factor/codes/renew/",
]  # fmt: skip
SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")")


@pytest.mark.parametrize("path", PAGES)
def test_account_pages_open_with_nothing_inline(person: User, path: str) -> None:
    client, _ = sign_in(person)
    set_up(client)
    page = client.get(path)
    assert page.status_code == 200
    assert "unsafe" not in page["Content-Security-Policy"]
    assert not SCRIPT.search(page.content.decode())
    assert " style=" not in page.content.decode()
    assert " onclick=" not in page.content.decode()


@pytest.mark.parametrize("path", [path for path in PAGES if "reset" not in path])
def test_strangers_are_sent_to_sign_in(db: None, path: str) -> None:
    assert "sign-in" in Client().get(path)["Location"]


# --- In a browser ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_chromium
def test_the_app_is_set_up_and_asked_for_by_clicking(transactional_db: None, live_server: Any, settings: Any) -> None:
    settings.REQUIRE_STAFF_MFA = True
    make_user("sam", is_staff=True, is_superuser=True)
    with open_tab(live_server.url) as tab:
        page = tab.sign_in("sam", PASSWORD)
        page.click("section:has-text('Authenticator App') a")
        secret = page.input_value("#authenticator_secret")
        page.fill("input[name=code]", code_of(secret))
        page.click("main form button[type=submit]")
        page.wait_for_selector("textarea")
        tab.go("/admin/")
        page.wait_for_selector("text=Find a leaked key")
        page.click("text=Sign out")
        tab.sign_in("sam", PASSWORD)
        page.fill("input[name=code]", code_of(secret, 1))
        page.click("main form button[type=submit]")
        page.wait_for_selector("text=Find a leaked key")


@pytest.mark.slow
@needs_chromium
def test_a_passkey_is_added_and_asked_for(transactional_db: None, live_server: Any) -> None:
    make_user("sam", is_staff=True, is_superuser=True)
    with open_tab(live_server.url) as tab:
        device = tab.page.context.new_cdp_session(tab.page)
        device.send("WebAuthn.enable")
        device.send(
            "WebAuthn.addVirtualAuthenticator",
            {"options": {"protocol": "ctap2", "transport": "internal", "hasUserVerification": True,
                         "isUserVerified": True, "hasResidentKey": True}},
        )  # fmt: skip
        page = tab.sign_in("sam", PASSWORD)
        tab.go("/account/second-factor/passkeys/add/")
        page.click("#mfa_webauthn_add")
        page.wait_for_selector("textarea")
        tab.go("/admin/")
        page.click("text=Sign out")
        tab.sign_in("sam", PASSWORD)
        page.click("#mfa_webauthn_reauthenticate")
        page.wait_for_selector("text=Find a leaked key")
    assert Authenticator.objects.filter(type=Authenticator.Type.WEBAUTHN).count() == 1
