"""Notices: what the platform tells an organization about itself, by events and by mail."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError
from uuid_utils.compat import uuid7

from core.ports import SyncDatabase, run_now
from delivery.models import Delivery
from events_platform.settings import CELERY_BEAT_SCHEDULE
from ingestion.formats.decoding import PLATFORM_SOURCE
from ingestion.intake.counting import note, record_counts
from ingestion.models import Event, IdempotencyKey, IntakeCount
from ingestion.operations import process_outbox
from installation.local.data_dir import CHECKOUT
from notifications.mails import send_mails
from notifications.models import NoticeKind
from notifications.notices import announce, announce_limits, mail_notice
from notifications.tasks import mail_notice as mail_notice_task
from organizations.models import Membership, Organization, Role
from tests.conftest import Tenant
from tests.factories import UserFactory, inbox_of, make_organization, make_webhook

NOW = datetime(2026, 11, 24, 12, 34, 56, tzinfo=UTC)
Capture = Callable[..., Any]
ENDPOINT = "https://example.com/hook"
SEND_TASK = "notifications.notices.current_app.send_task"


def dead_letter(organization: Organization, now: datetime = NOW, event_type: str = "invoice.paid") -> dict[str, Any]:
    """Announces one; returns its data."""
    data: dict[str, Any] = {
        "delivery_id": str(uuid7()),
        "subscription_id": str(uuid7()),
        "event_id": str(uuid7()),
        "event_type": event_type,
        "attempts": 10,
        "last_error": "timeout",
    }
    announce(
        organization_id=organization.pk, kind=NoticeKind.DEAD_LETTER, subject=data["delivery_id"], data=data, now=now
    )
    return data


def disabled(organization: Organization, now: datetime = NOW, subject: str = "s", reason: str = "gone") -> None:
    data = {"subscription_id": subject, "reason": reason, "url": ENDPOINT}
    announce(
        organization_id=organization.pk, kind=NoticeKind.SUBSCRIPTION_DISABLED, subject=subject, data=data, now=now
    )


def add_person(organization: Organization, email: str, role: Role = Role.OWNER, **values: Any) -> None:
    Membership.objects.create(organization=organization, user=UserFactory.create(email=email, **values), role=role)


def mailed(event_id: Any) -> bool:
    """Whether it is mailed; and what is to be mailed is sent."""
    is_requested = mail_notice(event_id=event_id)
    send_mails()
    return is_requested


def notice(organization: Organization) -> Event:
    return Event.objects.for_organization(organization.pk).latest("id")


@pytest.fixture
def organization(db: None) -> Organization:
    organization = make_organization()
    add_person(organization, "owner@example.com")
    return organization


def test_it_works(
    tenant: Tenant, mailoutbox: list[EmailMessage], django_capture_on_commit_callbacks: Capture, settings: Any
) -> None:
    add_person(tenant.organization, "owner@example.com")
    settings.PUBLIC_URL = "https://events.example.com"
    with mock.patch(SEND_TASK) as sent, django_capture_on_commit_callbacks(execute=True):
        data = dead_letter(tenant.organization)
    (event,) = tenant.get("/api/v1/events").json()["data"]
    assert event["type"] == "delivery.dead_letter"
    assert event["data"] == data
    assert event["subject"] == data["delivery_id"]
    assert event["source"] == PLATFORM_SOURCE
    assert event["time"] == "2026-11-24T12:34:56.000000Z"

    process_outbox()
    assert [found["id"] for found in tenant.get("/api/v1/inbox").json()["data"]] == [event["id"]]

    assert mails_asked_for(sent) == [mock.call("delivery.mail_notice", kwargs={"event_id": event["id"]})]
    mail_notice_task(event_id=event["id"])
    send_mails()
    (mail,) = mailoutbox
    assert mail.to == ["owner@example.com"]
    assert mail.subject == f"An event could not be delivered: {tenant.organization.name}"
    for told in (data["event_id"], "invoice.paid", data["subscription_id"], "10", "timeout"):
        assert str(told) in mail.body
    assert "https://events.example.com/console/" in mail.body
    assert "{" not in mail.body


def test_a_mail_names_the_endpoint_and_links_to_exactly_that(
    organization: Organization, mailoutbox: list[EmailMessage], settings: Any
) -> None:
    settings.PUBLIC_URL = "https://events.example.com"
    webhook = make_webhook(organization, name="Shop", failing_since=NOW - timedelta(hours=3))
    home = f"https://events.example.com/console/o/{organization.slug}/subscriptions/{webhook.pk}/"
    data = {"delivery_id": str(uuid7()), "subscription_id": str(webhook.pk), "event_id": str(uuid7()), "attempts": 10,
            "event_type": "order.paid", "last_error": "timeout", "error_detail": "No answer within 15 s."}  # fmt: skip
    announce(organization_id=organization.pk, kind=NoticeKind.DEAD_LETTER, subject="d", data=data, now=NOW)
    mailed(notice(organization).pk)
    (mail,) = mailoutbox
    assert mail.subject == f"An event could not be delivered (Shop): {organization.name}"
    for told in ("order.paid", "to Shop", "after 10 attempts", "Why: No answer within 15 s. (timeout)",
                 "since 2026-11-24T09:34:56.000000Z", f"{home}deliveries/{data['delivery_id']}/",
                 f"{home}dead-letters/"):  # fmt: skip
        assert told in mail.body, told
    disabled(organization, subject=str(webhook.pk))
    mailed(notice(organization).pk)
    assert f"resume the subscription:\n{home}\n" in mailoutbox[1].body
    # Another organization's subscription is none that a mail names.
    other = make_organization()
    add_person(other, "else@example.com")
    disabled(other, subject=str(webhook.pk))
    mailed(notice(other).pk)
    assert "Shop" not in mailoutbox[2].body


def test_a_subject_is_told_once_an_hour(organization: Organization) -> None:
    disabled(organization)
    disabled(organization, NOW + timedelta(minutes=20))
    disabled(organization, NOW + timedelta(minutes=20), reason="failing")
    assert Event.objects.count() == 1
    disabled(organization, subject="another")
    disabled(organization, NOW + timedelta(hours=1))
    disabled(make_organization())
    assert Event.objects.count() == 4


@pytest.mark.parametrize("event_type", NoticeKind.values)
def test_a_dead_letter_of_a_notice_is_not_told(organization: Organization, event_type: str) -> None:
    dead_letter(organization, event_type=event_type)
    assert not Event.objects.exists()


def test_a_notice_is_stored_with_what_it_is_about_or_not_at_all(
    organization: Organization, django_capture_on_commit_callbacks: Capture
) -> None:
    with django_capture_on_commit_callbacks() as callbacks, transaction.atomic():
        disabled(organization)
        assert Event.objects.exists()
        transaction.set_rollback(True)
    assert not Event.objects.exists()
    assert callbacks == []


def test_a_broker_that_is_away_is_nothing_to_the_caller(
    organization: Organization, django_capture_on_commit_callbacks: Capture
) -> None:
    with mock.patch(SEND_TASK, side_effect=BrokerError), django_capture_on_commit_callbacks(execute=True):
        disabled(organization)
    assert Event.objects.count() == 1


def test_mails_go_to_owners_who_can_read_them(organization: Organization, mailoutbox: list[EmailMessage]) -> None:
    add_person(organization, "second@example.com")
    add_person(organization, "")
    add_person(organization, "gone@example.com", is_active=False)
    for role in (Role.ADMIN, Role.MEMBER, Role.VIEWER):
        add_person(organization, f"{role}@example.com", role)
    add_person(make_organization(), "elsewhere@example.com")
    disabled(organization)
    assert mailed(notice(organization).pk)
    assert [mail.to for mail in mailoutbox] == [["owner@example.com"], ["second@example.com"]]


def test_without_owners_nothing_is_mailed(db: None, mailoutbox: list[EmailMessage]) -> None:
    organization = make_organization()
    disabled(organization)
    assert not mailed(notice(organization).pk)
    assert not mailed(uuid7())
    assert mailoutbox == []


def test_only_notices_are_mailed(tenant: Tenant, mailoutbox: list[EmailMessage]) -> None:
    add_person(tenant.organization, "owner@example.com")
    event_id = tenant.post("/api/v1/events", {"type": "a", "data": 1}).json()["id"]
    mail_notice_task(event_id=event_id)
    assert mailoutbox == []


def test_one_mail_an_hour_for_each_kind(organization: Organization, mailoutbox: list[EmailMessage]) -> None:
    dead_letter(organization)
    assert mailed(notice(organization).pk)
    assert not mailed(notice(organization).pk), "a task may run twice"
    dead_letter(organization)
    assert not mailed(notice(organization).pk)
    disabled(organization)
    assert mailed(notice(organization).pk)
    dead_letter(organization, NOW + timedelta(hours=1))
    assert mailed(notice(organization).pk)
    assert [mail.subject.partition(":")[0] for mail in mailoutbox] == [
        "An event could not be delivered",
        "A subscription was disabled",
        "An event could not be delivered",
    ]


def test_no_mail_is_asked_for_that_would_not_be_sent(
    organization: Organization, django_capture_on_commit_callbacks: Capture
) -> None:
    dead_letter(organization)
    mailed(notice(organization).pk)
    with mock.patch(SEND_TASK) as sent, django_capture_on_commit_callbacks(execute=True):
        dead_letter(organization)
    assert Event.objects.count() == 2
    assert mails_asked_for(sent) == []


def test_dead_letters_in_a_row_are_one_message_even_if_nobody_wants_their_mails(
    db: None, django_capture_on_commit_callbacks: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    organization = make_organization()
    with mock.patch(SEND_TASK) as sent:
        for _ in range(2):
            with django_capture_on_commit_callbacks(execute=True):
                dead_letter(organization)
                dead_letter(organization)
        assert len(mails_asked_for(sent)) == 1
        monkeypatch.setattr("notifications.notices._ASKED_FOR_SECONDS", 0.0)
        with django_capture_on_commit_callbacks(execute=True):
            dead_letter(organization)
    assert len(mails_asked_for(sent)) == 2


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_the_broker_is_told(settings: Any) -> None:
    """One that hangs takes seconds."""
    settings.DATABASE_POOL_SIZE = 1
    held: dict[str, object] = {}

    def send(name: str, **_: Any) -> None:
        held[name] = connection.connection

    with mock.patch(SEND_TASK, side_effect=send):
        dead_letter(make_organization())
    assert held["delivery.mail_notice"] is None


def test_the_claim_of_a_mail_is_removed_like_an_idempotency_key(organization: Organization) -> None:
    disabled(organization)
    mailed(notice(organization).pk)
    assert IdempotencyKey.objects.filter(key__startswith="op-mail:", expires_at__gt=timezone.now()).count() == 1


@pytest.mark.parametrize(
    ("reason", "said"),
    [("gone", "410 Gone"), ("failing", "failed without exception"), ("something new", "something new")],
)
def test_a_disabled_subscription_is_explained(
    organization: Organization, mailoutbox: list[EmailMessage], reason: str, said: str
) -> None:
    disabled(organization, reason=reason)
    mailed(notice(organization).pk)
    assert said in mailoutbox[0].body
    assert ENDPOINT in mailoutbox[0].body


def test_a_name_cannot_add_headers_or_markup(db: None, mailoutbox: list[EmailMessage]) -> None:
    organization = make_organization(name="A\nBcc: all@example.com & <b>")
    add_person(organization, "owner@example.com")
    disabled(organization)
    assert mailed(notice(organization).pk)
    assert mailoutbox[0].subject == "A subscription was disabled: A Bcc: all@example.com & <b>"
    assert "A Bcc: all@example.com & <b>" in mailoutbox[0].body


# --- The limit of events -----------------------------------------------------------------------------------------


def refuse(organization: Organization, minute: datetime, count: int = 1, outcome: str = "rate_limited") -> None:
    minute = minute.replace(second=0, microsecond=0)
    IntakeCount.objects.create(organization=organization, minute=minute, outcome=outcome, count=count)


def test_a_reached_limit_is_told(organization: Organization, mailoutbox: list[EmailMessage]) -> None:
    refuse(organization, NOW - timedelta(minutes=2), 3)
    refuse(organization, NOW - timedelta(minutes=1), 4)
    assert announce_limits(now=NOW) == 1
    event = notice(organization)
    assert (event.type, event.subject) == ("organization.limit_reached", str(organization.pk))
    assert '"events_per_minute":100' in str(event.data)
    assert '"refused_requests":7' in str(event.data)
    assert '"since":"2026-11-24T12:32:00.000000Z"' in str(event.data)
    assert mailed(event.pk)
    assert "100 events a minute" in mailoutbox[0].body
    assert "Since 2026-11-24T12:32:00.000000Z, 7 requests over the limit" in mailoutbox[0].body


def test_a_limit_is_told_once_an_hour(organization: Organization) -> None:
    refuse(organization, NOW)
    assert announce_limits(now=NOW) == 1
    assert announce_limits(now=NOW + timedelta(minutes=1)) == 0
    refuse(organization, NOW + timedelta(minutes=1))
    assert announce_limits(now=NOW + timedelta(minutes=2)) == 0
    refuse(organization, NOW + timedelta(hours=1))
    assert announce_limits(now=NOW + timedelta(hours=1)) == 1
    assert Event.objects.count() == 2


def test_the_end_of_an_hour_belongs_to_that_hour(organization: Organization) -> None:
    end = datetime(2026, 11, 24, 12, 59, tzinfo=UTC)
    refuse(organization, end)
    assert announce_limits(now=end + timedelta(seconds=30)) == 1
    assert announce_limits(now=end + timedelta(minutes=2)) == 0


def test_other_outcomes_and_old_minutes_are_not_told(organization: Organization) -> None:
    refuse(organization, NOW, outcome="validation_failed")
    refuse(organization, NOW - timedelta(hours=1))
    assert announce_limits(now=NOW) == 0


def test_a_refused_request_leads_to_the_notice(tenant: Tenant) -> None:
    inbox_of(tenant.organization)
    Organization.objects.filter(pk=tenant.organization.pk).update(events_per_minute_override=1)
    answers = [tenant.post("/api/v1/events", {"type": "a", "data": 1}).status_code for _ in range(2)]
    assert answers == [202, 429]
    run_now(record_counts(SyncDatabase()))
    assert announce_limits(now=timezone.now()) == 1
    note(tenant.organization.pk, "accepted")
    process_outbox()
    assert Delivery.objects.filter(event_id=notice(tenant.organization).pk).count() == 1
    assert CELERY_BEAT_SCHEDULE["announce-limits"]["task"] == "delivery.announce_limits"


# --- The mail server ---------------------------------------------------------------------------------------------


def mail_settings(**environ: str) -> "subprocess.CompletedProcess[str]":
    names = ("BACKEND", "HOST", "PORT", "HOST_USER", "HOST_PASSWORD", "USE_TLS", "USE_SSL")
    code = "from events_platform import settings as s; print([" + ", ".join(f"s.EMAIL_{name}" for name in names) + "])"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("console:", ["console", "localhost", 25, "", "", False, False]),
        ("smtp://mail", ["smtp", "mail", 25, "", "", False, False]),
        ("smtp+tls://me%40x:p%2Fw@mail", ["smtp", "mail", 587, "me@x", "p/w", True, False]),
        ("smtps://me:pw@mail:4650", ["smtp", "mail", 4650, "me", "pw", False, True]),
    ],
)
def test_the_mail_server_is_a_url(url: str, expected: list[Any]) -> None:
    backend = f"django.core.mail.backends.{expected[0]}.EmailBackend"
    assert mail_settings(EMAIL_URL=url).stdout.strip() == str([backend, *expected[1:]])


@pytest.mark.parametrize("url", ["mail", "smtp://", "http://mail", "smtp://u:hunter2@mail:port", "smtp://mail:99999"])
def test_a_bad_mail_server_stops_the_start_without_its_password(url: str) -> None:
    stopped = mail_settings(EMAIL_URL=url)
    assert stopped.returncode != 0
    assert "EMAIL_URL" in stopped.stderr
    assert "hunter2" not in stopped.stderr.splitlines()[-1]


@override_settings(DEFAULT_FROM_EMAIL="Events <events@example.com>")
def test_the_sender_is_a_setting(organization: Organization, mailoutbox: list[EmailMessage]) -> None:
    disabled(organization)
    mailed(notice(organization).pk)
    assert mailoutbox[0].from_email == "Events <events@example.com>"


def mails_asked_for(sent: mock.Mock) -> list[Any]:
    """The calls for mails; wake-ups for processing go the same way, whenever one is due."""
    return [call for call in sent.call_args_list if call.args[0] == "delivery.mail_notice"]
