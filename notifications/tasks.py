"""Celery's entrances to notices and mails. Each may run twice, late or never.

Their names are those from before there was this room: messages of the release before carry them.
"""

from typing import Any
from uuid import UUID

from celery import shared_task
from django.utils import timezone

from notifications import daily_mails, mails, notices, slack


@shared_task(name="delivery.announce_limits")
def announce_limits() -> None:
    notices.announce_limits(now=timezone.now())


@shared_task(name="notifications.announce_certificate_ends")
def announce_certificate_ends() -> None:
    notices.announce_certificate_ends(now=timezone.now())


@shared_task(name="delivery.send_mails")
def send_mails() -> None:
    mails.send_mails()


@shared_task(name="notifications.request_daily_mails")
def request_daily_mails() -> None:
    daily_mails.request_daily_mails(now=timezone.now())


@shared_task(name="delivery.mail_notice")
def mail_notice(*, event_id: str) -> None:
    notices.mail_notice(event_id=UUID(event_id))


_POST: dict[str, Any] = {
    "autoretry_for": (slack.NotPostedError,),
    "retry_backoff": 60,
    "retry_backoff_max": 600,
    "max_retries": 4,
}


@shared_task(name="notifications.post_notice", **_POST)
def post_notice(*, event_id: str) -> None:
    notices.post_notice(event_id=UUID(event_id), now=timezone.now())


@shared_task(name="notifications.post_welcome", **_POST)
def post_welcome(*, organization_id: str) -> None:
    slack.post_welcome(organization_id=UUID(organization_id), now=timezone.now())


# Sent by web servers of the release before this one, during an upgrade.
@shared_task(name="console.mail_invitation")
def mail_invitation(*, invitation_id: str) -> None:
    mails.request_mail("invitation", {"invitation_id": invitation_id})
