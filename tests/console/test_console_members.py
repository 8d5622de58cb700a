"""Members: roles, the last owner, and the way from an invitation to a membership."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.db import connections
from django.test import Client
from django.utils import timezone

from core.problems import Problem
from delivery.models import PendingMail
from notifications.invitations import invitation_link
from notifications.mails import send_mails
from notifications.tasks import mail_invitation
from organizations.models import Invitation, Membership, Role
from organizations.operations import change_role, invite_member, remove_member
from tests.conftest import Tenant
from tests.factories import TESTER, UserFactory
from tests.support.limiting import set_limits
from tests.support.people.console_data import browser_of, make_member
from tests.support.people.console_site import Site, actions, as_role, errors, staff

PASSWORD = "a long enough word"


@pytest.fixture
def admin(tenant: Tenant) -> Site:
    return as_role(tenant.organization, Role.ADMIN)


def invited(admin: Site, email: str = "New@Example.com", role: str = "member") -> str:
    """The path of the link."""
    page = admin.follow("members/invite", email=email, role=role)
    found = re.search(r"/console/invitations/[^/]+/", page)
    assert found
    return found[0]


def membership_of(site: Site, user: User) -> Membership:
    return Membership.objects.get(organization=site.organization, user=user)


def test_an_invitation_is_mailed_and_its_link_shown_once(admin: Site) -> None:
    path = invited(admin)
    invitation = Invitation.objects.get()
    assert invitation.email == "new@example.com"
    send_mails()
    assert mail.outbox[0].to == ["new@example.com"]
    assert "/console/invitations/" in mail.outbox[0].body
    page = admin.page("members/")
    assert path not in page
    assert "new@example.com" in page
    assert actions(admin.organization)[-1] == "invitation.created"


def test_a_new_person_makes_an_account_and_joins(admin: Site) -> None:
    path, browser = invited(admin), Client()
    assert "Create an account" in browser.get(path).content.decode()
    weak = browser.post(path, {"username": "nora", "password1": "short", "password2": "short"})
    assert "too short" in errors(weak)
    assert not User.objects.filter(username="nora").exists()
    answer = browser.post(path, {"username": "nora", "password1": PASSWORD, "password2": PASSWORD}, follow=True)
    assert "Welcome to" in answer.content.decode()
    nora = User.objects.get(username="nora")
    assert nora.email == "new@example.com"
    assert not nora.is_staff
    assert membership_of(admin, nora).role == Role.MEMBER
    assert actions(admin.organization)[-1] == "invitation.accepted"
    assert Client().get(path).status_code == 404


def test_somebody_with_an_account_joins_with_it(admin: Site) -> None:
    path, user = invited(admin, role="viewer"), UserFactory.create()
    assert "/console/sign-in/?next=" in Client().get(path).content.decode()
    browser = browser_of(user)
    assert user.username in browser.get(path).content.decode()
    browser.post(path)
    assert membership_of(admin, user).role == Role.VIEWER


def test_a_member_does_not_use_an_invitation_up(admin: Site) -> None:
    path = invited(admin)
    answer = browser_of(make_member(admin.organization, Role.VIEWER)).post(path)
    assert answer.status_code == 409
    assert "a member already" in answer.content.decode()
    assert Invitation.objects.get().accepted_at is None


def test_a_link_ends_when_it_is_withdrawn_replaced_or_old(admin: Site) -> None:
    first = invited(admin)
    second = invited(admin)
    assert first != second
    assert Client().get(first).status_code == 404
    newest = Invitation.objects.order_by("-pk")[0]
    Invitation.objects.filter(pk=newest.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert Client().get(second).status_code == 404
    assert "expired" in admin.page("members/")
    Invitation.objects.filter(pk=newest.pk).update(expires_at=timezone.now() + timedelta(days=1))
    assert Client().get(second).status_code == 200
    assert "was withdrawn" in admin.follow(f"invitations/{newest.pk}/withdraw")
    assert Client().get(second).status_code == 404
    assert "already" in admin.follow(f"invitations/{newest.pk}/withdraw")
    assert Client().get(f"{second[:-3]}xx/").status_code == 404
    mail_invitation(invitation_id=str(newest.pk))
    assert send_mails() == 0
    assert mail.outbox == []
    assert not PendingMail.objects.exists()


def test_an_invitation_says_what_is_wrong(admin: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    member = make_member(admin.organization, Role.VIEWER, email="here@example.com")
    assert "is a member already" in errors(admin.post("members/invite", email=member.email.upper(), role="member"))
    assert "valid email" in errors(admin.post("members/invite", email="no", role="member"))
    assert "valid choice" in errors(admin.post("members/invite", email="a@example.com", role="owner"))
    set_limits(monkeypatch, invitations_per_day=0)
    assert "invitations a day" in errors(admin.post("members/invite", email="a@example.com", role="member"))


def test_only_an_owner_makes_and_changes_owners(tenant: Tenant, admin: Site) -> None:
    owner_user, other = make_member(tenant.organization, Role.OWNER), make_member(tenant.organization, Role.VIEWER)
    owner_row, other_row = membership_of(admin, owner_user), membership_of(admin, other)
    assert "Only an owner" in admin.follow(f"members/{other_row.pk}/role", role="owner")
    assert "Only an owner" in admin.follow(f"members/{owner_row.pk}/role", role="viewer")
    assert "Only an owner" in admin.follow(f"members/{owner_row.pk}/remove")
    owner = Site(tenant.organization, browser_of(owner_user))
    assert "is now owner" in owner.follow(f"members/{other_row.pk}/role", role="owner")
    assert admin.post(f"members/{other_row.pk}/role", role="king").status_code == 404


def test_a_member_is_changed_and_removed(tenant: Tenant, admin: Site) -> None:
    row = membership_of(admin, make_member(tenant.organization, Role.VIEWER))
    assert "is now member" in admin.follow(f"members/{row.pk}/role", role="member")
    assert "Remove" in admin.page(f"members/{row.pk}/remove")
    assert "no longer a member" in admin.follow(f"members/{row.pk}/remove")
    assert admin.get(f"members/{row.pk}/remove").status_code == 404
    assert actions(tenant.organization)[-2:] == ["member.role_changed", "member.removed"]


def test_the_last_owner_stays(tenant: Tenant) -> None:
    user = make_member(tenant.organization, Role.OWNER)
    owner = Site(tenant.organization, browser_of(user))
    row = membership_of(owner, user)
    assert "This is the last owner" in owner.follow(f"members/{row.pk}/role", role="viewer")
    assert "This is the last owner" in owner.follow(f"members/{row.pk}/remove")
    row.refresh_from_db()
    assert row.role == Role.OWNER
    make_member(tenant.organization, Role.OWNER)
    answer = owner.post(f"members/{row.pk}/remove")
    assert answer["Location"] == "/console/"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("leave", ["demote", "remove"])
def test_two_owners_who_leave_at_once_leave_one(tenant: Tenant, leave: str) -> None:
    rows = [
        Membership.objects.get(user=make_member(tenant.organization, Role.OWNER), organization=tenant.organization)
        for _ in range(2)
    ]

    def go(row: Membership) -> bool:
        values: dict[str, Any] = {"membership": row, "actor": TESTER, "keeps_owner": True}
        try:
            if leave == "demote":
                change_role(role=Role.VIEWER, **values)
            else:
                remove_member(**values)
        except Problem:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(go, rows)) == [False, True]
    assert Membership.objects.filter(organization=tenant.organization, role=Role.OWNER).count() == 1


@pytest.mark.django_db(transaction=True)
def test_one_link_lets_one_person_in(tenant: Tenant) -> None:
    inviter = make_member(tenant.organization, Role.ADMIN)
    invitation = invite_member(
        organization=tenant.organization,
        email="new@example.com",
        role="member",
        invited_by=inviter,
        actor=TESTER,
        now=timezone.now(),
    )
    path = "/console/" + invitation_link(invitation).partition("/console/")[2]
    browsers = [browser_of(UserFactory.create()) for _ in range(2)]

    def go(browser: Client) -> int:
        try:
            return browser.post(path).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        codes = sorted(pool.map(go, browsers))
    assert codes[0] == 302
    assert codes[1] in {404, 409}
    assert Membership.objects.filter(organization=tenant.organization).count() == 2


def test_many_members_are_paged(tenant: Tenant, admin: Site) -> None:
    users = User.objects.bulk_create([User(username=f"many-{number:03}") for number in range(60)])
    Membership.objects.bulk_create([Membership(organization=tenant.organization, user=user) for user in users])
    older = re.search(r'href="(\?before=\d+)" rel="next"', admin.page("members/"))
    assert older
    assert "many-000" in admin.page(f"members/{older[1]}")


def test_staff_see_an_organization_without_members(tenant: Tenant) -> None:
    assert "No members yet" in staff(tenant.organization).page("members/")
    assert 'id="invite"' not in staff(tenant.organization).page("members/")
