"""Mails wait in PostgreSQL for a worker, which writes and sends them."""

import logging
from smtplib import SMTPRecipientsRefused, SMTPServerDisconnected
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.mail import EmailMessage
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.notices import Change, tell_owner
from accounts.reset_mail import request_reset
from delivery.models import PendingMail
from notifications.mails import request_mail, send_mails
from tests.support.memory import held_in_redis
from tests.support.people.accounts import make_user

SEND = "django.core.mail.EmailMessage.send"


@pytest.fixture
def person(db: None) -> User:
    return make_user()


def test_it_works(person: User) -> None:
    request_reset("CASEY@example.com")
    tell_owner(person, Change.PASSWORD_SET)
    assert send_mails() == 2
    assert [each.to for each in mail.outbox] == [["casey@example.com"]] * 2
    assert not PendingMail.objects.exists()
    assert send_mails() == 0


def test_a_reset_does_the_same_whether_or_not_there_is_an_account(person: User) -> None:
    asked = []
    for address in ("casey@example.com", "nobody@example.com"):
        with CaptureQueriesContext(connection) as queries:
            Client().post("/account/password/reset/", {"email": address})
        asked.append([each["sql"].partition(" VALUES ")[0] for each in queries])
    assert asked[0] == asked[1]
    assert not any("auth_user" in sql for sql in asked[0])
    assert mail.outbox == []
    assert send_mails() == 1


def test_neither_the_row_nor_redis_holds_a_link(person: User, django_capture_on_commit_callbacks: Any) -> None:
    with mock.patch("notifications.mails._waker.wake") as woken, django_capture_on_commit_callbacks(execute=True):
        Client().post("/account/password/reset/", {"email": person.email})
    woken.assert_called_once_with()
    assert PendingMail.objects.get().about == {"email": person.email}
    send_mails()
    link = str(mail.outbox[0].body).partition("/password/reset/")[2].split()[0]
    token = link.split("/")[1]
    assert token.encode() not in b"\n".join(held_in_redis())


def test_a_mail_goes_to_the_address_of_the_account_and_to_nobody_who_may_not_sign_in(person: User) -> None:
    make_user("gone", is_active=False)
    make_user("keyless").set_unusable_password()
    User.objects.filter(username="keyless").update(password="!")
    for address in ("CASEY@EXAMPLE.com", "gone@example.com", "keyless@example.com"):
        request_reset(address)
    send_mails()
    assert [each.to for each in mail.outbox] == [["casey@example.com"]]


def test_a_server_that_is_away_is_asked_again_later_and_not_for_ever(
    person: User, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        request_reset(person.email)
    tried = 0
    with mock.patch(SEND, side_effect=SMTPServerDisconnected) as sent, caplog.at_level(logging.WARNING):
        while PendingMail.objects.exists():
            assert send_mails() == 0
            tried += 1
            assert sent.call_count == tried  # one look at a time
            assert not PendingMail.objects.filter(next_attempt_at__lte=timezone.now()).exists()
            PendingMail.objects.update(next_attempt_at=timezone.now())
    assert tried == 18
    assert person.email not in caplog.text


def test_one_that_is_refused_or_broken_holds_up_no_other_one(person: User) -> None:
    request_mail("account_notice", {"user_id": person.pk, "change": "NO_SUCH"})
    request_mail("no such kind", {})
    request_reset(person.email)
    make_user("other")
    request_reset("other@example.com")
    sent: list[EmailMessage] = []

    def send(message: EmailMessage) -> int:
        if message.to == [person.email]:
            raise SMTPRecipientsRefused({person.email: (550, b"no")})
        sent.append(message)
        return 1

    with mock.patch(SEND, autospec=True, side_effect=send):
        assert send_mails() == 1
    assert [each.to for each in sent] == [["other@example.com"]]
    # Also the one of a kind that only a newer release may know.
    assert PendingMail.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_what_is_being_sent_is_sent_by_nobody_else() -> None:
    request_reset(make_user().email)

    def send(message: EmailMessage) -> int:
        assert not connection.in_atomic_block
        assert send_mails() == 0
        return 1

    with mock.patch(SEND, autospec=True, side_effect=send) as sent:
        assert send_mails() == 1
    assert sent.call_count == 1
