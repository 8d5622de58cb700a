"""Events that are past their time leave, and what was counted of them."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from core.partitions.weeks import Partition
from core.postgresql.arrays import uuid_array
from ingestion.models import EventType, HourlyStat, IntakeCount, ProcessingFailure, Schedule, ScheduleStatus
from ingestion.operations.event_types import DELETED, ONLY_SEEN

ROWS_PER_BATCH = 5_000
# An id is made a moment before the row of the outbox.
_SLACK = timedelta(hours=1)
# `order by` makes it the oldest ones, so that a partition that will be dropped has as few dead rows as can be.
_PICK = """
SELECT id FROM {table} AS event WHERE organization_id = %s AND id < %s AND NOT EXISTS (
    SELECT FROM ingestion_schedule AS late WHERE late.event_id = event.id AND late.status <> 'cancelled'
) ORDER BY organization_id, id LIMIT %s
"""
_DELETE = "DELETE FROM {table} WHERE id = ANY(%s::uuid[]) AND id >= %s AND id <= %s"
_IS_NEEDED = """
SELECT EXISTS (
    SELECT FROM unnest(%s::uuid[], %s::uuid[]) AS kept (organization_id, floor)
    CROSS JOIN LATERAL (
        SELECT FROM {table} AS event
        WHERE event.organization_id = kept.organization_id AND event.id >= kept.floor LIMIT 1
    ) AS needed
)
"""
_HAS_LATE = """
SELECT EXISTS (SELECT FROM ingestion_schedule WHERE event_id >= %s AND event_id < %s AND status <> 'cancelled')
"""
_WITH_OLD = """
SELECT kept.id, kept.floor FROM unnest(%s::uuid[], %s::uuid[]) AS kept (id, floor)
WHERE EXISTS (SELECT FROM {table} AS event WHERE event.organization_id = kept.id AND event.id < kept.floor)
"""
_FORGET = """
DELETE FROM {table} AS mark
USING unnest(%s::uuid[], %s::uuid[]) AS kept (id, floor)
WHERE mark.organization_id = kept.id AND mark.event_id < kept.floor
  AND NOT EXISTS (SELECT FROM ingestion_event AS event WHERE event.id = mark.event_id)
"""
_WAITING = """
SELECT event.organization_id, min(event.id::text)::uuid
FROM ingestion_outboxentry AS entry CROSS JOIN LATERAL unnest(entry.event_ids) AS waiting (id)
JOIN ingestion_event AS event ON event.id = waiting.id
WHERE entry.created_at < %s GROUP BY event.organization_id
"""
_DUE = """
SELECT organization_id, min(event_id::text)::uuid FROM ingestion_processingfailure
WHERE next_attempt_at IS NOT NULL GROUP BY organization_id
"""


def waiting_events(*, before: datetime) -> dict[UUID, UUID]:
    """Organization → its oldest event that still has to be processed, of those received before."""
    found: dict[UUID, UUID] = {}
    with connection.cursor() as cursor:
        for statement, values in ((_WAITING, [before + _SLACK]), (_DUE, [])):
            cursor.execute(statement, values)
            for organization_id, event_id in cursor.fetchall():
                found[organization_id] = min(event_id, found.get(organization_id, event_id))
    return found


def events_are_needed(partition: Partition, floors: Mapping[UUID, UUID]) -> bool:
    """Whether the partition has an event at or above the floor of its organization, or a late one."""
    if has_late_events(partition):
        return True
    reaching = {pk: floor for pk, floor in floors.items() if floor < partition.end}
    if not reaching:
        return False
    with connection.cursor() as cursor:
        cursor.execute(_IS_NEEDED.format(table=partition.name), [uuid_array(reaching), uuid_array(reaching.values())])
        return bool(cursor.fetchone()[0])


def has_late_events(partition: Partition) -> bool:
    """Whether its week has late events: those that wait for their time, or were handed on within the last period."""
    with connection.cursor() as cursor:
        cursor.execute(_HAS_LATE, [partition.low, partition.end])
        return bool(cursor.fetchone()[0])


def organizations_with_old(floors: Mapping[UUID, UUID], *, table: str = "ingestion_event") -> dict[UUID, UUID]:
    """Those with events below their floor, and that floor."""
    with connection.cursor() as cursor:
        cursor.execute(_WITH_OLD.format(table=table), [uuid_array(floors), uuid_array(floors.values())])
        return dict(cursor.fetchall())


def forget_failures(floors: Mapping[UUID, UUID]) -> int:
    """Delete the failures of events that left with their partition; returns how many."""
    return _forget("ingestion_processingfailure", floors)


def forget_schedules(floors: Mapping[UUID, UUID]) -> int:
    """Delete those of cancelled events that left with their partition; returns how many."""
    return _forget("ingestion_schedule", floors)


@transaction.atomic
def remove_events(*, organization_id: UUID, below: UUID, table: str = "ingestion_event") -> int:
    """Delete a batch of an organization's oldest events whose ids are lower, but late ones; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_PICK.format(table=table), [organization_id, below, ROWS_PER_BATCH])
        ids = [row[0] for row in cursor.fetchall()]
    remove_events_by_id(ids, table=table)
    return len(ids)


@transaction.atomic
def remove_events_by_id(ids: Collection[UUID], *, table: str = "ingestion_event") -> None:
    """Delete these events with their failures and schedules."""
    if not ids:
        return
    Schedule.objects.filter(event_id__in=ids).delete()
    ProcessingFailure.objects.filter(event_id__in=ids).delete()
    with connection.cursor() as cursor:
        cursor.execute(_DELETE.format(table=table), [uuid_array(ids), min(ids), max(ids)])


def old_stats(*, organization_ids: Collection[UUID], before: datetime) -> QuerySet[HourlyStat]:
    """By organization, as the index is."""
    return HourlyStat.objects.filter(organization__in=organization_ids, hour__lt=before)


def old_intake_counts(*, before: datetime) -> QuerySet[IntakeCount]:
    return IntakeCount.objects.filter(minute__lt=before).order_by("minute")


def old_event_types(*, before: Mapping[UUID, datetime], deleted_before: datetime) -> QuerySet[EventType]:
    """Those that nobody described and of which no event came since; and marks of deleted ones that all have read.

    `before`: organization → the time, when no event that came before it is kept.
    """
    unseen = _older(before, "last_seen_at")
    return EventType.objects.filter((ONLY_SEEN & unseen) | (DELETED & Q(changed_at__lt=deleted_before))).order_by("pk")


def old_schedules(*, before: Mapping[UUID, datetime]) -> QuerySet[Schedule]:
    """Those of events that were handed on before; without them an event is as old as its id.

    `before`: organization → the time.
    """
    return Schedule.objects.filter(_older(before, "done_at"), status=ScheduleStatus.HANDED_ON).order_by("pk")


def _older(before: Mapping[UUID, datetime], field: str) -> Q:
    """The rows of each organization whose time lies before its own."""
    by_time: dict[datetime, list[UUID]] = {}
    for organization_id, moment in before.items():
        by_time.setdefault(moment, []).append(organization_id)
    old = [Q(organization__in=ids, **{f"{field}__lt": moment}) for moment, ids in by_time.items()]
    return reduce(or_, old, Q(pk__in=[]))


def _forget(table: str, floors: Mapping[UUID, UUID]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_FORGET.format(table=table), [uuid_array(floors), uuid_array(floors.values())])
        removed: int = cursor.rowcount
    return removed
