"""The jobs of this room: what they are called, and stopping one."""

from datetime import datetime

from django.db import transaction

from delivery.models import DeadLetterRetry, Replay
from organizations.audit import Actor, record
from organizations.jobs.models import JobStatus

KINDS: dict[type[Replay | DeadLetterRetry], str] = {Replay: "replay", DeadLetterRetry: "dead_letter_retry"}


@transaction.atomic
def cancel_job(*, job: Replay | DeadLetterRetry, actor: Actor, now: datetime) -> bool:
    """Stop it after the batch at hand; what is over stays as it is, and so do deliveries that were made or are due.

    Whether it was running until now.
    """
    running = type(job)._default_manager.filter(pk=job.pk, status=JobStatus.RUNNING)
    was_running = bool(running.update(status=JobStatus.CANCELLED, finished_at=now))
    if was_running:
        action = f"{KINDS[type(job)]}.cancelled"
        record(actor=actor, action=action, target=job, organization=job.organization)
    job.refresh_from_db()
    return was_running
