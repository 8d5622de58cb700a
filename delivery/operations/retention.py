"""Deliveries and attempts that are past their time leave; those that are still open end first, and say why."""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from core.event_ids import HIGHEST_ID, LOWEST_ID, lowest_id
from core.partitions.weeks import Partition
from core.postgresql.arrays import uuid_array
from delivery.attempts.records import without_answer
from delivery.delivery_ids import bounds_of_event
from delivery.models import Attempt, DeadLetterRetry, Delivery, Replay, Subscription, SubscriptionStatus
from delivery.ordering.queues import leave_queues
from ingestion.operations.retention import has_late_events
from organizations.audit import Actor, record
from organizations.jobs.models import JobStatus
from organizations.models import TenantQuerySet

# What `last_error` says of a dead letter that nobody gave up but time, or the end of its subscription.
EXPIRED = "expired"
SUBSCRIPTION_DELETED = "subscription_deleted"
ROWS_PER_BATCH = 5_000
# Each has up to 10 KiB.
_RECORDS_PER_BATCH = 500
# Of events that wait for their time, or were handed on within the last period: they are younger than their ids say.
_IS_LATE = "EXISTS (SELECT FROM ingestion_schedule AS late WHERE late.event_id = delivery.event_id)"
# In SQL, of a delivery `old`.
OPEN = "old.status IN ('pending', 'retrying')"
CLOSED = "old.status IN ('delivered', 'dead_letter')"
# By the indexes of each subscription; the floors bound the ids, and so the partitions.
_WITH_OLD = """
SELECT subscription.id, kept.floor FROM delivery_subscription AS subscription
JOIN unnest(%(organizations)s::uuid[], %(floors)s::uuid[]) AS kept (id, floor)
    ON kept.id = subscription.organization_id
WHERE EXISTS (
    SELECT FROM {table} AS old WHERE old.subscription_id = subscription.id AND {condition} AND old.id < kept.floor
) ORDER BY subscription.id
"""
_DELETED_WITH_OPEN = """
SELECT subscription.id, %(end)s::uuid FROM delivery_subscription AS subscription
WHERE subscription.status = 'deleted' AND EXISTS (
    SELECT FROM delivery_delivery AS delivery
    WHERE delivery.subscription_id = subscription.id AND delivery.status IN ('pending', 'retrying')
) ORDER BY subscription.id
"""
# What somebody holds at this moment is left to the one who holds it.
_END = f"""
WITH ending AS MATERIALIZED (
    SELECT id FROM delivery_delivery AS delivery
    WHERE subscription_id = %(subscription)s
      AND status IN ('pending', 'retrying') AND id < %(below)s
      AND (lease_id IS NULL OR greatest(lease_until, next_attempt_at) <= %(now)s)
      AND (%(with_late)s OR NOT {_IS_LATE})
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE delivery_delivery AS delivery
SET status = 'dead_letter', next_attempt_at = NULL, lease_id = NULL, lease_until = NULL, last_error = %(reason)s
FROM ending WHERE delivery.id = ending.id AND delivery.status IN ('pending', 'retrying')
RETURNING delivery.id, delivery.order_key
"""  # noqa: S608 - a constant
_OPEN_EVENTS = f"""
SELECT kept.id, (
    SELECT min(delivery.event_id::text)::uuid FROM delivery_subscription AS subscription
    JOIN delivery_delivery AS delivery ON delivery.subscription_id = subscription.id
    WHERE subscription.organization_id = kept.id
      AND delivery.status IN ('pending', 'retrying') AND delivery.id < kept.floor
      AND NOT {_IS_LATE}
) FROM unnest(%(organizations)s::uuid[], %(floors)s::uuid[]) AS kept (id, floor)
"""  # noqa: S608 - likewise
_IS_NEEDED: dict[str, str] = {
    # An open delivery is needed whatever its age.
    "delivery_delivery": """
SELECT EXISTS (
    SELECT FROM unnest(%(organizations)s::uuid[], %(floors)s::uuid[]) AS kept (id, floor)
    JOIN delivery_subscription AS subscription ON subscription.organization_id = kept.id
    CROSS JOIN (VALUES ('pending'), ('retrying'), ('delivered'), ('dead_letter')) AS wanted (status)
    CROSS JOIN LATERAL (
        SELECT FROM {table} AS delivery
        WHERE delivery.subscription_id = subscription.id AND delivery.status = wanted.status AND delivery.id >=
            CASE WHEN wanted.status IN ('pending', 'retrying') THEN %(lowest)s::uuid ELSE kept.floor END
        LIMIT 1
    ) AS needed
)""",
    "delivery_attempt": """
SELECT EXISTS (
    SELECT FROM unnest(%(organizations)s::uuid[], %(floors)s::uuid[]) AS kept (id, floor)
    JOIN delivery_subscription AS subscription ON subscription.organization_id = kept.id
    CROSS JOIN LATERAL (
        SELECT FROM {table} AS attempt
        WHERE attempt.subscription_id = subscription.id AND attempt.id >= kept.floor LIMIT 1
    ) AS needed
)""",
}
_PICK: dict[str, str] = {
    "delivery_delivery": f"""
SELECT id FROM {{table}} AS delivery
WHERE subscription_id = %(subscription)s
      AND status IN ('delivered', 'dead_letter') AND id < %(below)s AND NOT {_IS_LATE} LIMIT %(limit)s""",  # noqa: S608 - likewise
    "delivery_attempt": """
SELECT id FROM {table} WHERE subscription_id = %(subscription)s AND id < %(below)s
ORDER BY subscription_id, id LIMIT %(limit)s""",
}
_DELETE = "DELETE FROM {table} WHERE id = ANY(%s::uuid[]) AND id >= %s AND id <= %s"
# Events that came together share the start of their ids, and so the span.
_OF_EVENTS = """
SELECT delivery.id FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS span (event_id, low, high)
CROSS JOIN LATERAL (
    SELECT id FROM delivery_delivery
    WHERE id BETWEEN span.low AND span.high AND event_id = span.event_id AND organization_id = %s
) AS delivery
"""
# Whatever their state is: for organizations that leave altogether.
_PICK_ANY = "SELECT id FROM delivery_delivery WHERE subscription_id = %(subscription)s LIMIT %(limit)s"


def subscriptions_with_old(
    floors: Mapping[UUID, UUID], *, table: str = "delivery_delivery", condition: str = "true"
) -> dict[UUID, UUID]:
    """Those with rows below the floor of their organization that meet `condition` (OPEN, CLOSED), and that floor."""
    return _pairs(_WITH_OLD.format(table=table, condition=condition), _columns(floors))


def deleted_subscriptions_with_open() -> dict[UUID, UUID]:
    """With the end of all ids, as these deliveries end whatever their age is."""
    return _pairs(_DELETED_WITH_OPEN, {"end": HIGHEST_ID})


@transaction.atomic
def expire_deliveries(*, subscription_id: UUID, below: UUID, now: datetime) -> int:
    """Make a batch of open deliveries of old events dead letters; returns how many. The audit log tells the number."""
    ended = _end(subscription_id, below, EXPIRED, now, with_late=False)
    if ended:
        subscription = Subscription.objects.select_related("organization").get(pk=subscription_id)
        record(
            actor=Actor.system("retention"),
            action="subscription.deliveries_expired",
            target=subscription,
            organization=subscription.organization,
            changes={"deliveries": ended},
        )
    return ended


@transaction.atomic
def end_deliveries_of_deleted(*, subscription_id: UUID, now: datetime) -> int:
    """Take a batch of a deleted subscription's open deliveries out of what is due; returns how many."""
    return _end(subscription_id, HIGHEST_ID, SUBSCRIPTION_DELETED, now, with_late=True)


def open_events(floors: Mapping[UUID, UUID]) -> dict[UUID, UUID]:
    """Organization → its oldest event that an open delivery below its floor or a running replay still needs."""
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_EVENTS, _columns(floors))
        found = {pk: event_id for pk, event_id in cursor.fetchall() if event_id}
    for replay in Replay.objects.filter(status=JobStatus.RUNNING).order_by():
        first = replay.cursor or lowest_id(replay.received_after)
        found[replay.organization_id] = min(first, found.get(replay.organization_id, first))
    return found


def deliveries_are_needed(partition: Partition, floors: Mapping[UUID, UUID]) -> bool:
    """Whether the partition of deliveries or attempts has a row at or above the floor of its organization.

    Deliveries of late events are needed too.
    """
    if partition.table == "delivery_attempt":
        floors = {pk: floor for pk, floor in floors.items() if floor < partition.end}
    elif has_late_events(partition):
        return True
    with connection.cursor() as cursor:
        statement = _IS_NEEDED[partition.table].format(table=partition.name)
        cursor.execute(statement, {**_columns(floors), "lowest": LOWEST_ID})
        return bool(cursor.fetchone()[0])


def remove_deliveries(*, subscription_id: UUID, below: UUID, table: str = "delivery_delivery") -> int:
    """Delete a batch of closed deliveries whose ids are lower; returns how many."""
    return _remove(_PICK["delivery_delivery"].format(table=table), table, subscription_id, below)


def remove_attempts(*, subscription_id: UUID, below: UUID, table: str = "delivery_attempt") -> int:
    """Delete a batch of attempts whose ids are lower; returns how many."""
    return _remove(_PICK["delivery_attempt"].format(table=table), table, subscription_id, below)


def remove_any_deliveries(*, subscription_id: UUID) -> int:
    """Delete a batch of deliveries, open ones too; returns how many."""
    return _remove(_PICK_ANY, "delivery_delivery", subscription_id, LOWEST_ID)


@transaction.atomic
def remove_deliveries_of_events(*, organization_id: UUID, event_ids: Collection[UUID]) -> int:
    """Delete all deliveries of these events with their attempts, which may quote them; returns how many deliveries."""
    deliveries = _deliveries_of(organization_id, event_ids)
    Attempt.objects.for_organization(organization_id).filter(delivery_id__in=deliveries).delete()
    rows = Delivery.objects.for_organization(organization_id).filter(pk__in=deliveries)
    keyed = list(rows.filter(order_key__isnull=False).only("pk", "subscription", "order_key"))
    rows.delete()
    leave_queues(keyed)
    return len(deliveries)


def forget_responses(*, organization_id: UUID, event_ids: Collection[UUID]) -> int:
    """Empty what endpoints answered to these events, as they may repeat them; returns how many attempts."""
    deliveries = Delivery.objects.for_organization(organization_id).filter(
        pk__in=_deliveries_of(organization_id, event_ids)
    )
    events = dict(deliveries.values_list("pk", "event_id"))
    attempts = Attempt.objects.for_organization(organization_id).filter(delivery_id__in=events)
    firsts = deliveries.filter(first_attempt__isnull=False)
    emptied = attempts.exclude(response="").update(response="")
    emptied += firsts.exclude(first_response=None).update(first_response=None)
    _forget_headers(attempts, "record", events)
    _forget_headers(firsts, "first_attempt", events)
    return emptied


def _forget_headers(rows: TenantQuerySet[Any], column: str, events: Mapping[UUID, UUID]) -> None:
    """In the records that a column holds. `events`: delivery → event."""
    last = LOWEST_ID
    recorded = rows.filter(**{f"{column}__isnull": False}).order_by("pk")
    while page := list(recorded.filter(pk__gt=last)[:_RECORDS_PER_BATCH]):
        for row in page:
            event_id = events[row.delivery_id if isinstance(row, Attempt) else row.pk]
            setattr(row, column, without_answer(getattr(row, column), event_id=event_id))
        rows.bulk_update(page, [column])
        last = page[-1].pk


def old_replays(*, before: datetime, kept_until: Mapping[UUID, datetime]) -> QuerySet[Replay]:
    """Those that ended before, of windows of which nothing is kept: acks of replayed events look them up.

    `kept_until`: organization → the time before which it has no events.
    """
    by_time: dict[datetime, list[UUID]] = {}
    for organization_id, moment in kept_until.items():
        by_time.setdefault(moment, []).append(organization_id)
    gone = [Q(organization__in=ids, received_before__lt=moment) for moment, ids in by_time.items()]
    if not gone:
        return Replay.objects.none()
    return Replay.objects.filter(reduce(or_, gone), finished_at__lt=before).order_by("pk")


def old_retries(*, before: datetime) -> QuerySet[DeadLetterRetry]:
    """Those that ended before."""
    return DeadLetterRetry.objects.filter(finished_at__lt=before).order_by("pk")


def left_subscriptions(*, before: datetime) -> QuerySet[Subscription]:
    """Those that were deleted by then and have no delivery and no attempt any more."""
    deliveries = Delivery.objects.filter(subscription=OuterRef("pk"))
    attempts = Attempt.objects.filter(subscription_id=OuterRef("pk"))
    deleted = Subscription.objects.filter(status=SubscriptionStatus.DELETED, changed_at__lt=before)
    return deleted.filter(~Exists(deliveries), ~Exists(attempts)).order_by("pk")


def _deliveries_of(organization_id: UUID, event_ids: Collection[UUID]) -> list[UUID]:
    if not event_ids:
        return []
    spans = [bounds_of_event(event_id) for event_id in event_ids]
    with connection.cursor() as cursor:
        cursor.execute(
            _OF_EVENTS,
            [
                uuid_array(event_ids),
                uuid_array(low for low, _ in spans),
                uuid_array(high for _, high in spans),
                organization_id,
            ],
        )
        return [row[0] for row in cursor.fetchall()]


def _end(subscription_id: UUID, below: UUID, reason: str, now: datetime, *, with_late: bool) -> int:
    values: dict[str, Any] = {
        "with_late": with_late,
        "subscription": subscription_id,
        "below": below,
        "reason": reason,
        "now": now,
        "limit": ROWS_PER_BATCH,
    }
    with connection.cursor() as cursor:
        cursor.execute(_END, values)
        ended = cursor.fetchall()
    leave_queues(Delivery(id=pk, subscription_id=subscription_id, order_key=key) for pk, key in ended)
    return len(ended)


@transaction.atomic
def _remove(statement: str, table: str, subscription_id: UUID, below: UUID) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"subscription": subscription_id, "below": below, "limit": ROWS_PER_BATCH})
        ids = [row[0] for row in cursor.fetchall()]
        if ids:
            cursor.execute(_DELETE.format(table=table), [uuid_array(ids), min(ids), max(ids)])
    return len(ids)


def _columns(floors: Mapping[UUID, UUID]) -> dict[str, Any]:
    return {"organizations": uuid_array(floors), "floors": uuid_array(floors.values())}


def _pairs(statement: str, values: dict[str, Any]) -> dict[UUID, UUID]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return dict(cursor.fetchall())
