"""Celery's entrances to the operations on deliveries. Each may run twice, late or never."""

from collections.abc import Sequence
from uuid import UUID

from celery import shared_task
from django.utils import timezone

from delivery import operations
from delivery.queue_samples import sampling
from delivery.webhooks.sending_process import sending_process
from organizations.jobs.running import take_turn


@shared_task(name="delivery.send_due")
def send_due(*, due: Sequence[tuple[str, str]] = ()) -> None:
    """`due`: organization and subscription of each that has something due; without them the sender looks for them."""
    sending_process.wake([(UUID(organization), UUID(subscription)) for organization, subscription in due])


@shared_task(name="delivery.run_replays")
def run_replays() -> None:
    take_turn(operations.run_replays)


@shared_task(name="delivery.retry_dead_letters")
def retry_dead_letters() -> None:
    take_turn(operations.run_dead_letter_retries)


@shared_task(name="delivery.sample_queues")
def sample_queues() -> None:
    sampling.sample_queues(now=timezone.now())
