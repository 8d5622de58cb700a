"""Celery's entrances to notices and mails. Each may run twice, late or never.

Their names are those from before there was this room: messages of the release before carry them.
"""

from uuid import UUID

from celery import shared_task
from django.utils import timezone

from core.broker.long_tasks import long_task
from notifications import daily_mails, mails, notices, slack
from organizations.jobs.running import take_turn


@shared_task(name="delivery.announce_limits")
def announce_limits() -> None:
    notices.announce_limits(now=timezone.now())


@shared_task(name="notifications.announce_certificate_ends")
def announce_certificate_ends() -> None:
    notices.announce_certificate_ends(now=timezone.now())


@shared_task(name="delivery.send_mails")
def send_mails() -> None:
    take_turn(mails.send_mails)


@shared_task(name="notifications.request_daily_mails")
def request_daily_mails() -> None:
    daily_mails.request_daily_mails(now=timezone.now())


@shared_task(name="delivery.mail_notice")
def mail_notice(*, event_id: str) -> None:
    notices.mail_notice(event_id=UUID(event_id))


@shared_task(name="notifications.post_notice")
def post_notice(*, event_id: str) -> None:
    notices.post_notice(event_id=UUID(event_id), now=timezone.now())


@shared_task(name="notifications.post_due")
def post_due() -> None:
    with long_task() as has_place:
        if has_place:
            slack.post_due(now=timezone.now())


# Sent by web servers of the release before this one, during an upgrade.
@shared_task(name="notifications.post_welcome")
def post_welcome(*, organization_id: str) -> None:
    slack.request_welcome(organization_id=UUID(organization_id), now=timezone.now())


@shared_task(name="console.mail_invitation")
def mail_invitation(*, invitation_id: str) -> None:
    mails.request_mail("invitation", {"invitation_id": invitation_id})
