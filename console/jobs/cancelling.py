"""Cancelling a job of either kind, and what the person is told."""

from django.contrib import messages
from django.http import HttpRequest
from django.utils import timezone

from delivery.models import DeadLetterRetry, Replay
from delivery.operations import cancel_job
from organizations.audit import actor_of


def cancel_and_tell(request: HttpRequest, job: Replay | DeadLetterRetry, *, cancelled: str) -> None:
    """`cancelled` is said when this has stopped it."""
    if cancel_job(job=job, actor=actor_of(request), now=timezone.now()):
        messages.success(request, cancelled)
    else:
        messages.error(request, "It had already ended.")
