"""Events with keys, and attempts that end as a test wants."""

from datetime import timedelta
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from core.ports import SyncDatabase, run_now
from delivery.attempt_errors import AttemptError
from delivery.models import Delivery, Subscription
from delivery.ordering.queues import go_on_now
from delivery.webhooks.claiming import Claimed, claim
from delivery.webhooks.recording import AttemptOutcome, record_outcomes
from delivery.webhooks.sending import AttemptResult
from ingestion.formats.decoding import DecodedEvent
from ingestion.intake.storing import Incoming, store
from organizations.models import Organization


def put(organization: Organization, *subjects: str | None, data: str = "{}") -> list[UUID]:
    """The ids of events that were accepted together, one of each subject, and wait to be processed."""
    events = [
        DecodedEvent(type="t", data=data, source=None, subject=subject, time=None, idempotency_key=None)
        for subject in subjects
    ]
    incoming = [Incoming(organization.pk, event) for event in events]
    run_now(store(SyncDatabase(), incoming))
    return [one.id for one in incoming]


def take(subscription: Subscription, number: int = 100) -> list[Claimed]:
    """What a sender that looks for what is due would attempt now.

    In one transaction PostgreSQL's clock stands still: what has become due in it was so an hour ago.
    """
    go_on_now()
    due = Delivery.objects.filter(next_attempt_at__lte=timezone.now())
    due.update(next_attempt_at=F("next_attempt_at") - timedelta(hours=1))
    return run_now(claim(SyncDatabase(), {subscription.pk: number}))


def end(*taken: Claimed, status: int = 200) -> None:
    """Record attempts that were answered so."""
    run_now(record_outcomes(SyncDatabase(), [_outcome(one, status) for one in taken]))


def _outcome(claimed: Claimed, status: int) -> AttemptOutcome:
    result = AttemptResult(
        error=None if status < 300 else AttemptError.HTTP_ERROR,
        status=status,
        detail="",
        duration_ms=1,
        response_text="",
        response_truncated=False,
        retry_after=None,
        remote_address=None,
    )
    return AttemptOutcome(claimed=claimed, started_at=timezone.now() - timedelta(seconds=1), result=result)
