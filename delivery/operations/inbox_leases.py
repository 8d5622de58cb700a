"""Leases: events of an inbox that one consumer holds for a while, and gives back by doing nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from uuid_utils.compat import uuid7

from core.postgresql.arrays import uuid_array
from delivery.listeners import DeadLetter, tell_dead_letter
from delivery.models import Delivery, DeliveryStatus, Subscription, SubscriptionStatus
from delivery.operations.dead_letters import count_retried
from delivery.operations.sleeping_inboxes import fill_oldest
from delivery.ordering.queues import go_on_now, leave_queues
from delivery.webhooks.recording import EVENT_GONE
from ingestion.models import Event
from ingestion.stored_data import OCTETS
from rest.large_answers import MAX_BYTES

# What `last_error` says of a dead letter: leased too often, or older than its event is kept.
MAX_LEASES_ERROR = "max_leases"
# How often a lease tries again that found nothing but dead letters, or events that were acknowledged.
_ROUNDS = 10

# Locked rows are those that another lease takes at this moment. A row that it has just taken is read again before it
# is locked, and is not due any more.
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id, next_attempt_at, retry_id FROM delivery_delivery
    WHERE subscription_id = %(inbox)s AND next_attempt_at <= %(now)s
    ORDER BY next_attempt_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE delivery_delivery AS delivery SET
    status = CASE WHEN attempts < %(max_leases)s THEN status ELSE %(dead_letter)s END,
    next_attempt_at = CASE WHEN attempts < %(max_leases)s THEN %(expires_at)s END,
    lease_id = CASE WHEN attempts < %(max_leases)s THEN %(lease)s::uuid END,
    retry_id = CASE WHEN attempts < %(max_leases)s THEN delivery.retry_id END,
    last_error = CASE WHEN attempts < %(max_leases)s THEN last_error ELSE %(max_leases_error)s END,
    attempts = CASE WHEN attempts < %(max_leases)s THEN attempts + 1 ELSE attempts END
FROM due
WHERE delivery.id = due.id
RETURNING due.next_attempt_at, delivery.id, delivery.event_id, delivery.status, delivery.attempts, delivery.lease_id,
    delivery.next_attempt_at, due.retry_id, delivery.order_key
"""
# Until a new partition has statistics, and for large leases also later, the planner would rather sort or hash a whole
# table than read a thousand rows by their index: measured with a million waiting, 1.1 s instead of 22 ms.
_BY_INDEX = """
SELECT set_config('enable_sort', 'off', true), set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true), set_config('enable_seqscan', 'off', true)
"""
# As the answer shows it: a number of jsonb may be stored in a 26th of that.
_SIZES = f"""
SELECT id, {OCTETS} + coalesce(octet_length(annotations::text), 0)
FROM ingestion_event WHERE id = ANY(%s::uuid[]) AND id BETWEEN %s AND %s
"""  # noqa: S608 - no input
_GIVE_BACK = """
UPDATE delivery_delivery AS delivery SET next_attempt_at = given.due, lease_id = NULL, attempts = attempts - 1
FROM unnest(%s::uuid[], %s::timestamptz[]) AS given (id, due)
WHERE delivery.id = given.id AND delivery.lease_id = %s
"""
# All that a lease holds lies in the part of the index that is not due yet.
_EXTEND = """
WITH held AS MATERIALIZED (
    SELECT id FROM delivery_delivery
    WHERE subscription_id = %(inbox)s AND next_attempt_at > %(now)s AND lease_id = %(lease)s
    ORDER BY id
    FOR UPDATE
)
UPDATE delivery_delivery AS delivery SET next_attempt_at = %(expires_at)s
FROM held
WHERE delivery.id = held.id AND delivery.lease_id = %(lease)s
"""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The deliveries that are held until `expires_at`, the longest waiting first; at least one.

    `sizes`: about how many bytes the event of each has.
    """

    id: UUID
    expires_at: datetime
    deliveries: list[Delivery]
    sizes: list[int]


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """A delivery and when it was due: its place in the order."""

    due: datetime
    delivery: Delivery


@dataclass(frozen=True, kw_only=True)
class _Held:
    """What one look has taken, and of how many deliveries."""

    deliveries: list[Delivery]
    sizes: list[int]
    looked_at: int


def lease_events(
    *, inbox: Subscription, limit: int, duration: timedelta, now: datetime, max_bytes: int = MAX_BYTES
) -> Lease | None:
    """Hold up to `limit` due events of `max_bytes` together; None when there are none, or the inbox is not active.

    Events that were leased `inbox.max_leases` times become dead letters instead.
    """
    if inbox.status != SubscriptionStatus.ACTIVE:
        return None
    lease_id, expires_at = uuid7(), now + duration
    for _ in range(_ROUNDS):
        has_more = fill_oldest(inbox, number=limit)
        if inbox.has_queues:
            go_on_now(inbox.pk, now=now)
        held = _take(inbox, limit, lease_id, now, expires_at=expires_at, max_bytes=max_bytes)
        if held.deliveries or not (held.looked_at or has_more):
            break
    if not held.deliveries:
        return None
    return Lease(id=lease_id, expires_at=expires_at, deliveries=held.deliveries, sizes=held.sizes)


def extend_lease(*, inbox: Subscription, lease_id: UUID, expires_at: datetime, now: datetime) -> int:
    """Hold until `expires_at` what the lease still holds at `now`; returns how many events that are."""
    values: dict[str, Any] = {"inbox": inbox.pk, "lease": lease_id, "expires_at": expires_at, "now": now}
    with connection.cursor() as cursor:
        cursor.execute(_EXTEND, values)
        extended: int = cursor.rowcount
    return extended


@transaction.atomic
def _take(
    inbox: Subscription, limit: int, lease_id: UUID, now: datetime, *, expires_at: datetime, max_bytes: int
) -> _Held:
    """Hold what is due and fits, one event at least."""
    rows = _claim(inbox, limit, lease_id, expires_at, now)
    taken = [row for row in rows if row.delivery.status != DeliveryStatus.DEAD_LETTER]
    if len(taken) < len(rows):
        poisonous = [row.delivery for row in rows if row.delivery.status == DeliveryStatus.DEAD_LETTER]
        _announce(poisonous, now)
        if not inbox.holds_keys:
            leave_queues(poisonous)
    sizes = _sizes_of([row.delivery.event_id for row in taken])
    if gone := [row.delivery for row in taken if row.delivery.event_id not in sizes]:
        count_retried(gone, "failed_again")
        Delivery.objects.filter(pk__in=[delivery.pk for delivery in gone]).update(
            status=DeliveryStatus.DEAD_LETTER, next_attempt_at=None, lease_id=None, retry_id=None, last_error=EVENT_GONE
        )
        leave_queues(gone)
        taken = [row for row in taken if row.delivery.event_id in sizes]
    each = [sizes[row.delivery.event_id] for row in taken]
    fitting = max(1, sum(total <= max_bytes for total in accumulate(each)))
    if fitting < len(taken):
        _give_back(taken[fitting:], lease_id)
    held = [row.delivery for row in taken[:fitting]]
    return _Held(deliveries=held, sizes=each[:fitting], looked_at=len(rows))


def _claim(inbox: Subscription, limit: int, lease_id: UUID, expires_at: datetime, now: datetime) -> list[_Taken]:
    values: dict[str, Any] = {
        "inbox": inbox.pk,
        "now": now,
        "limit": limit,
        "lease": lease_id,
        "expires_at": expires_at,
        "max_leases": inbox.max_leases,
        "max_leases_error": MAX_LEASES_ERROR,
        "dead_letter": DeliveryStatus.DEAD_LETTER.value,
    }
    with connection.cursor() as cursor:
        cursor.execute(_BY_INDEX)
        cursor.execute(_CLAIM, values)
        rows = sorted(cursor.fetchall(), key=itemgetter(0, 2))
    return [
        _Taken(
            due=due,
            delivery=Delivery(
                id=pk,
                organization_id=inbox.organization_id,
                subscription_id=inbox.pk,
                event_id=event_id,
                status=status,
                attempts=attempts,
                lease_id=holder,
                next_attempt_at=ends,
                retry_id=retry_id,
                order_key=order_key,
            ),
        )
        for due, pk, event_id, status, attempts, holder, ends, retry_id, order_key in rows
    ]


def _announce(poisonous: Sequence[Delivery], now: datetime) -> None:
    """Tell the organization which events nobody acknowledged."""
    count_retried(poisonous, "failed_again")
    ids = [delivery.event_id for delivery in poisonous]
    types = dict(Event.objects.filter(pk__in=ids).values_list("pk", "type"))
    for delivery in poisonous:
        letter = DeadLetter(
            organization_id=delivery.organization_id,
            delivery_id=delivery.pk,
            subscription_id=delivery.subscription_id,
            event_id=delivery.event_id,
            event_type=types.get(delivery.event_id),
            attempts=delivery.attempts,
            last_error=MAX_LEASES_ERROR,
        )
        tell_dead_letter(letter, now=now)


def _sizes_of(event_ids: Sequence[UUID]) -> dict[UUID, int]:
    """About how many bytes the data of each event has; those that are not there any more are left out."""
    if not event_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_SIZES, [uuid_array(event_ids), min(event_ids), max(event_ids)])
        return dict(cursor.fetchall())


def _give_back(taken: Sequence[_Taken], lease_id: UUID) -> None:
    """As if they had not been leased."""
    ids = uuid_array(row.delivery.pk for row in taken)
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_BACK, [ids, [row.due for row in taken], lease_id])
