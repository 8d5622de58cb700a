"""Celery's entrances to the operations on events. Each may run twice, late or never."""

from celery import shared_task
from django.utils import timezone

from core.partitions import making
from ingestion import operations


@shared_task(name="ingestion.process_outbox")
def process_outbox(*, settle: bool = False) -> None:
    """`settle` is said by web servers of version 0.2, and means nothing: a wake-up follows every event."""
    operations.process_outbox()


@shared_task(name="ingestion.hand_on_due")
def hand_on_due() -> None:
    operations.hand_on_due()


@shared_task(name="ingestion.retry_failed")
def retry_failed() -> None:
    operations.retry_failed()


@shared_task(name="ingestion.remove_expired_idempotency_keys")
def remove_expired_idempotency_keys() -> None:
    operations.remove_expired_idempotency_keys()


@shared_task(name="ingestion.roll_up_intake_counts")
def roll_up_intake_counts() -> None:
    operations.roll_up_intake_counts(now=timezone.now())


@shared_task(name="ingestion.make_partitions")
def make_partitions() -> None:
    making.make_partitions()
