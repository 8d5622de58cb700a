"""Celery's entrances to the operations on deliveries. Each may run twice, late or never."""

from collections.abc import Sequence
from uuid import UUID

from celery import shared_task
from django.utils import timezone

from core.long_tasks import TURN_SECONDS, long_task
from delivery import operations
from delivery.webhooks.sending_process import sending_process


@shared_task(name="delivery.send_due")
def send_due(*, due: Sequence[tuple[str, str]] = ()) -> None:
    """`due`: organization and subscription of each that has something due; without them the sender looks for them."""
    sending_process.wake([(UUID(organization), UUID(subscription)) for organization, subscription in due])


@shared_task(name="delivery.run_replays")
def run_replays() -> None:
    with long_task() as has_place:
        if has_place:
            operations.run_replays(seconds=TURN_SECONDS)


@shared_task(name="delivery.announce_limits")
def announce_limits() -> None:
    operations.announce_limits(now=timezone.now())


@shared_task(name="delivery.send_mails")
def send_mails() -> None:
    operations.send_mails()


# A mail server that is away is tried again for about an hour; what is older than that is no news.
@shared_task(
    name="delivery.mail_notice", autoretry_for=(OSError,), retry_backoff=60, retry_backoff_max=1200, max_retries=6
)
def mail_notice(*, event_id: str) -> None:
    operations.mail_notice(event_id=UUID(event_id))
