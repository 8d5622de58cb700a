"""The jobs of this room: what they are called, finding one by its id, and stopping it."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from delivery.models import DeadLetterRetry, Replay
from organizations.audit import Actor, record
from organizations.jobs.models import JobStatus

KINDS: dict[type[Replay | DeadLetterRetry], str] = {Replay: "replay", DeadLetterRetry: "dead_letter_retry"}


def find_job(*, organization_id: UUID, job_id: UUID) -> Replay | DeadLetterRetry | None:
    """The organization's job of this id, with its organization and subscription."""
    retries = DeadLetterRetry.objects.for_organization(organization_id)
    replays = Replay.objects.for_organization(organization_id).select_related("organization", "subscription")
    retry = retries.select_related("organization", "subscription", "outcomes").filter(pk=job_id).first()
    return retry or replays.filter(pk=job_id).first()


@transaction.atomic
def cancel_job(*, job: Replay | DeadLetterRetry, actor: Actor, now: datetime) -> None:
    """Stop it after the batch at hand; what is over stays as it is, and so do deliveries that were made or are due."""
    running = type(job)._default_manager.filter(pk=job.pk, status=JobStatus.RUNNING)
    if running.update(status=JobStatus.CANCELLED, finished_at=now):
        action = f"{KINDS[type(job)]}.cancelled"
        record(actor=actor, action=action, target=job, organization=job.organization)
    job.refresh_from_db()
