"""A suspended organization: keys are refused, pages only show, and what it would send waits until it is resumed."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import Group, User
from django.core.mail import EmailMessage
from django.db import connection
from django.urls import get_resolver
from django.utils import timezone

from console.access import OPERATORS
from console.models import SavedView
from core.problems import Problem
from delivery.models import Delivery, Subscription, SubscriptionKind
from delivery.operations import create_replay, run_replays
from delivery.operations.replays import ReplayRequest
from delivery.webhooks.test_send import send_test
from ingestion.models import Event
from ingestion.operations import process_outbox
from notifications.invitations import request_invitation_mail
from notifications.mails import send_mails
from notifications.models import NoticeKind
from notifications.notices import announce, mail_notice
from organizations.keys.authentication import forget_cached_keys
from organizations.models import AuditEntry, Invitation, Membership, Organization, Role
from organizations.operations import invitation_token, invite_member, resume_organization, suspend_organization
from tests.conftest import Tenant
from tests.factories import TESTER, UserFactory, make_organization
from tests.support.people.console_data import browser_of, make_member
from tests.support.people.every_page import NO_PAGES, World, make_world, path_of, routes
from tests.support.routes import implemented_operations

NOBODY = "01900000-0000-7000-8000-000000000000"
Capture = Callable[..., Any]


def suspend(organization: Organization) -> None:
    assert suspend_organization(organization=organization, reason="Unpaid", actor=TESTER)
    organization.refresh_from_db()


def resume(organization: Organization) -> None:
    assert resume_organization(organization=organization, actor=TESTER)
    organization.refresh_from_db()


# --- The API ---------------------------------------------------------------------------------------------------------


def test_its_keys_open_nothing_but_the_organization(tenant: Tenant) -> None:
    """Every route of the URL configuration, so that a new one is looked at, too."""
    suspend(tenant.organization)
    open_ones = set()
    for method, path in implemented_operations(list(get_resolver().url_patterns)):
        answer = tenant.request(method.upper(), re.sub(r"\{\w+\}", NOBODY, path), {} if method != "get" else None)
        if (answer.status_code, answer.json().get("code")) != (403, "organization_suspended"):
            open_ones.add((method, path))
    assert open_ones == {("get", "/api/v1/organization")}


def test_it_learns_that_it_is_suspended(tenant: Tenant) -> None:
    assert tenant.get("/api/v1/organization").json()["suspended"] is False
    suspend(tenant.organization)
    forget_cached_keys()
    answer = tenant.get("/api/v1/organization")
    assert (answer.status_code, answer.json()["suspended"]) == (200, True)
    assert "RateLimit" in answer
    assert tenant.request("HEAD", "/api/v1/organization").status_code == 200
    assert tenant.request("POST", "/api/v1/organization").status_code == 403


# --- The console -----------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tenant: Tenant) -> World:
    """Suspended, with one of everything."""
    found = make_world(tenant)
    found.ids["view_id"] = SavedView.objects.get(owner=found.person).pk
    suspend(found.scene.organization)
    return found


def pages_of_the_organization(world: World) -> Iterator[tuple[str, str]]:
    for name, route in routes():
        if route.startswith("console/o/<slug:slug>/"):
            yield name, path_of(world, name, route)


def make_operator() -> User:
    operator: User = UserFactory.create(is_staff=True)
    operator.groups.add(Group.objects.get(name=OPERATORS))
    return operator


@pytest.mark.slow
def test_no_form_of_its_pages_does_anything(world: World) -> None:
    entries = AuditEntry.objects.filter(organization=world.scene.organization)
    before = entries.count()
    superuser = UserFactory.create(is_staff=True, is_superuser=True)
    for person in (superuser, make_member(world.scene.organization, Role.OWNER), make_operator()):
        browser, refused = browser_of(person), 0
        for name, path in pages_of_the_organization(world):
            answer = browser.post(path)
            assert answer.status_code in {403, 405}, name
            if answer.status_code == 403:
                refused += 1
                assert "is suspended" in answer.content.decode(), name
                assert "resume" in answer.content.decode(), name
        assert refused > 25
    assert entries.count() == before


@pytest.mark.slow
def test_its_pages_show_and_have_no_forms(world: World) -> None:
    browser = browser_of(make_member(world.scene.organization, Role.OWNER))
    shown = 0
    for name, path in pages_of_the_organization(world):
        if name in NO_PAGES:
            continue
        answer = browser.get(path)
        page = answer.content.decode()
        # Of what is only a form there is nothing to see.
        assert answer.status_code == 200 or (answer.status_code == 403 and "is suspended" in page), name
        shown += answer.status_code == 200
        forms = re.findall(r"<form[^>]*method=\"post\"[^>]*>", page)
        # Nor do the colors of a page change anything for anybody else.
        assert [form for form in forms if "sign-out" not in form and 'class="theme"' not in form] == [], name
    assert shown > 15


@pytest.mark.slow
def test_who_may_resume_it_is_told_where(world: World) -> None:
    path = f"{world.home}keys/issue"
    there = f"/admin/organizations/organization/{world.scene.organization.pk}/resume/"
    assert there in browser_of(make_operator()).post(path).content.decode()
    owner = browser_of(make_member(world.scene.organization, Role.OWNER))
    assert there not in owner.post(path).content.decode()


def test_a_stranger_learns_nothing_and_a_viewer_is_no_more_than_one(tenant: Tenant) -> None:
    suspend(tenant.organization)
    path = f"/console/o/{tenant.organization.slug}/keys/issue"
    assert browser_of(make_member(make_organization())).post(path).status_code == 404
    viewer = browser_of(make_member(tenant.organization, Role.VIEWER)).post(path)
    assert viewer.status_code == 403
    assert "This requires the role" in viewer.content.decode()


def test_nobody_joins_it(tenant: Tenant) -> None:
    invitation = invited(tenant.organization)
    suspend(tenant.organization)
    path = f"/console/invitations/{invitation_token(invitation)}/"
    joining = browser_of(UserFactory.create())
    for answer in (joining.get(path), joining.post(path)):
        assert answer.status_code == 403
        assert "is suspended" in answer.content.decode()
    resume(tenant.organization)
    assert joining.post(path).status_code == 302


def invited(organization: Organization) -> Invitation:
    return invite_member(
        organization=organization,
        email="ada@example.com",
        role="member",
        invited_by=UserFactory.create(),
        actor=TESTER,
        now=timezone.now(),
    )


# --- What waits ------------------------------------------------------------------------------------------------------


def make_webhook(organization: Organization, **values: Any) -> Subscription:
    url = "https://hooks.example.com/"
    return Subscription.objects.create(organization=organization, kind=SubscriptionKind.WEBHOOK, url=url, **values)


def test_what_was_accepted_is_processed_and_its_deliveries_say_why_they_wait(tenant: Tenant) -> None:
    webhook = make_webhook(tenant.organization)
    event_id = tenant.post("/api/v1/events", {"type": "invoice.paid", "data": 1}).json()["id"]
    suspend(tenant.organization)
    process_outbox()
    delivery = Delivery.objects.get(event_id=event_id, subscription=webhook)
    assert delivery.status == "pending"
    owner = browser_of(make_member(tenant.organization))
    home = f"/console/o/{tenant.organization.slug}/"
    assert "Held: the organization is suspended" in owner.get(f"{home}events/{event_id}/").content.decode()
    listed = f"{home}subscriptions/{webhook.pk}/deliveries/"
    assert str(delivery.pk) in owner.get(f"{listed}?status=held").content.decode()
    assert str(delivery.pk) not in owner.get(f"{listed}?status=pending").content.decode()
    assert "the organization is suspended" in owner.get(f"{listed}{delivery.pk}/").content.decode()
    resume(tenant.organization)
    shown = tenant.get(f"/api/v1/deliveries/{delivery.pk}").json()
    assert (shown["status"], shown["held_reason"]) == ("pending", None)


def test_replays_wait_and_go_on(tenant: Tenant, django_capture_on_commit_callbacks: Capture) -> None:
    webhook = make_webhook(tenant.organization)
    tenant.post("/api/v1/events", {"type": "invoice.paid", "data": 1})
    now = timezone.now()
    criteria = ReplayRequest(received_after=now - timedelta(hours=1), received_before=now)
    replay = create_replay(subscription=webhook, criteria=criteria, actor=TESTER, now=now)
    suspend(tenant.organization)
    assert run_replays() == 0
    replay.refresh_from_db()
    assert (replay.status, replay.looked_at, replay.failures) == ("running", 0, 0)
    with (
        mock.patch("delivery.operations.resuming.wake_replays") as woken,
        django_capture_on_commit_callbacks(execute=True),
    ):
        resume(tenant.organization)
    woken.assert_called_once()
    assert run_replays() == 1


def test_no_test_is_sent(tenant: Tenant) -> None:
    webhook = make_webhook(tenant.organization)
    suspend(tenant.organization)
    found = Subscription.objects.select_related("organization").get(pk=webhook.pk)
    with pytest.raises(Problem, match="suspended"):
        send_test(subscription=found, event_type="webhook.test", data="{}", actor=TESTER, now=timezone.now())


def test_notices_are_mailed_once_it_is_resumed(
    tenant: Tenant, mailoutbox: list[EmailMessage], django_capture_on_commit_callbacks: Capture
) -> None:
    Membership.objects.create(
        organization=tenant.organization, user=UserFactory.create(email="owner@example.com"), role=Role.OWNER
    )
    suspend(tenant.organization)
    for number in range(3):
        dead_letter(tenant.organization, f"delivery-{number}")
    notices = list(Event.objects.for_organization(tenant.organization.pk).order_by("pk").values_list("pk", flat=True))
    assert [mail_notice(event_id=pk) for pk in notices] == [False] * 3
    assert mailoutbox == []
    with (
        mock.patch("notifications.notices.current_app.send_task") as sent,
        django_capture_on_commit_callbacks(execute=True),
    ):
        resume(tenant.organization)
    wanted = [call.kwargs["kwargs"] for call in sent.call_args_list if call.args == ("delivery.mail_notice",)]
    assert wanted == [{"event_id": str(notices[-1])}]
    assert mail_notice(event_id=notices[-1])
    assert send_mails() == 1
    assert [mail.to for mail in mailoutbox] == [["owner@example.com"]]


def dead_letter(organization: Organization, subject: str) -> None:
    data = {"delivery_id": subject, "subscription_id": "s", "event_id": "e", "event_type": "invoice.paid"}
    data |= {"attempts": "10", "last_error": "timeout"}
    announce(
        organization_id=organization.pk, kind=NoticeKind.DEAD_LETTER, subject=subject, data=data, now=timezone.now()
    )


def test_an_invitation_that_was_on_its_way_is_mailed_once_it_is_resumed(
    tenant: Tenant, mailoutbox: list[EmailMessage]
) -> None:
    invitation = invited(tenant.organization)
    request_invitation_mail(invitation)
    suspend(tenant.organization)
    assert send_mails() == 0
    assert mailoutbox == []
    resume(tenant.organization)
    assert send_mails() == 1
    assert [mail.to for mail in mailoutbox] == [["ada@example.com"]]


def test_an_endpoint_that_failed_before_begins_with_a_clean_record(tenant: Tenant) -> None:
    """Its next failure would else be the last of many days without a success, and disable it."""
    failing = make_webhook(tenant.organization, failing_since=timezone.now() - timedelta(days=9), failures=30)
    other = make_webhook(make_organization(), failing_since=timezone.now(), failures=2)
    suspend(tenant.organization)
    resume(tenant.organization)
    failing.refresh_from_db()
    other.refresh_from_db()
    assert (failing.failing_since, failing.failures) == (None, 0)
    assert other.failures == 2


def test_suspended_organizations_are_found_by_an_index_of_their_own(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("EXPLAIN SELECT id FROM organizations_organization WHERE suspended_at IS NOT NULL")
        assert "organization_suspended" in str(cursor.fetchall())
