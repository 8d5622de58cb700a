"""Celery's entrances to what the console does in the background. Each may run twice, late or never."""

from uuid import UUID

from celery import shared_task
from django.utils import timezone

from console import exports, invitation_mail


# A mail server that is away is tried again for about an hour; then the link has to be sent by hand.
@shared_task(
    name="console.mail_invitation", autoretry_for=(OSError,), retry_backoff=60, retry_backoff_max=1200, max_retries=6
)
def mail_invitation(*, invitation_id: str) -> None:
    invitation_mail.mail_invitation(invitation_id=UUID(invitation_id))


@shared_task(name="console.run_exports")
def run_exports() -> None:
    exports.run_exports()


@shared_task(name="console.remove_expired_exports")
def remove_expired_exports() -> None:
    exports.remove_expired_exports(now=timezone.now())
