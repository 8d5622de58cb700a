"""Events that wait for their time: handed on to processing when it has come, or cancelled before."""

from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now
from django.shortcuts import get_object_or_404

from core.problems import Problem
from ingestion.models import LARGE_COLUMNS, Event, Schedule, ScheduleStatus
from ingestion.wakeup import wake_processing
from organizations.audit import Actor, ActorKind, record

# One transaction: some 20 ms.
EVENTS_PER_BATCH = 1_000
# An event's own entry has the event's id, as its `batch_id` has: by that its status is derived. As old as its time, so
# that what is late shows as a backlog, and goes first.
# Claimed at once: a subquery with a limit may be run again for each row that it is joined to.
_HAND_ON = """
WITH claimed AS MATERIALIZED (
    SELECT event_id FROM ingestion_schedule
    WHERE status = 'scheduled' AND deliver_at <= statement_timestamp()
    ORDER BY deliver_at, event_id LIMIT %s FOR UPDATE SKIP LOCKED
), due AS (
    UPDATE ingestion_schedule AS schedule SET status = 'handed_on', done_at = statement_timestamp()
    FROM claimed WHERE schedule.event_id = claimed.event_id
    RETURNING schedule.event_id, deliver_at
)
INSERT INTO ingestion_outboxentry (id, event_ids, created_at)
SELECT event_id, ARRAY[event_id], deliver_at FROM due ORDER BY deliver_at, event_id
"""


def hand_on_due(*, batches: int = 50) -> int:
    """Hand on what is due by PostgreSQL's clock, in at most so many batches; returns how many events."""
    handed_on = 0
    for _ in range(batches):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_HAND_ON, [EVENTS_PER_BATCH])
            if cursor.rowcount:
                transaction.on_commit(wake_processing)
            handed_on += cursor.rowcount
            if cursor.rowcount < EVENTS_PER_BATCH:
                break
    return handed_on


@transaction.atomic
def cancel_event(*, organization_id: UUID, event_id: UUID, actor: Actor) -> Schedule:
    """Have a scheduled event never handed on; one that is cancelled already stays so.

    Raises Http404 for another organization's, and Problem 409 for one that was handed on, or had no time to wait for.
    """
    own = Schedule.objects.for_organization(organization_id).filter(pk=event_id)
    if own.filter(status=ScheduleStatus.SCHEDULED).update(status=ScheduleStatus.CANCELLED, done_at=Now()):
        # Keys cancel as often as they send: that would fill the audit log.
        if actor.kind == ActorKind.USER:
            event = Event.objects.select_related("organization").defer(*LARGE_COLUMNS).get(pk=event_id)
            record(actor=actor, action="event.cancelled", target=event, organization=event.organization)
    elif not own.filter(status=ScheduleStatus.CANCELLED).exists():
        get_object_or_404(Event.objects.for_organization(organization_id).only("pk"), pk=event_id)
        raise Problem("wrong_state", "The event was handed on already: it cannot be cancelled any more.")
    return own.get()
