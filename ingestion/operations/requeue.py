"""Events that could not be processed get another chance."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction

from ingestion.models import ProcessingFailure
from organizations.audit import Actor, record

MAX_AT_ONCE = 1_000


@transaction.atomic
def requeue_failures(*, event_ids: Collection[UUID], actor: Actor, now: datetime) -> int:
    """Make failures due now, with all their attempts ahead of them; returns how many. At most MAX_AT_ONCE."""
    wanted = ProcessingFailure.objects.filter(pk__in=list(event_ids)[:MAX_AT_ONCE]).select_related("organization")
    # Those that somebody is trying at this moment need no other chance.
    failures = list(wanted.select_for_update(of=("self",), skip_locked=True).order_by("pk"))
    for failure in failures:
        record(actor=actor, action="event.requeued", target=failure, organization=failure.organization,
               changes={"attempts": failure.attempts})  # fmt: skip
    due = ProcessingFailure.objects.filter(pk__in=[failure.pk for failure in failures])
    return due.update(next_attempt_at=now, attempts=0)
