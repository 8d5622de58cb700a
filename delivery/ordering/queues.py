"""The queues of keys: who joins, whose turn it is, and who leaves.

A delivery that waits in a queue has no time at which it is due, so that whoever takes what is due (senders, leases,
whatever limits they keep) need not know of queues. There are three moves, and each may be repeated:
- to join: the delivery becomes a member of its queue, at the position of its event;
- to leave: a head that was delivered or given up makes room;
- to go on: the member with the lowest position becomes the head, and is due. Not before everything that was accepted
  earlier is processed: it may be of the same key.

Locks: who leaves holds the delivery, then the queue; who goes on skips queues that others hold. Those who hold several
queues take them in the order of the primary key.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.db import connection, transaction

from core.ports import Database, SyncDatabase, run_now
from core.postgresql.arrays import array, uuid_array
from delivery.kinds import RULES
from delivery.models import Delivery
from delivery.wakeup import wake_consumers, wake_sending
from ingestion.positions import FIRST_UNPROCESSED, take_positions

logger = logging.getLogger(__name__)
# One statement: some 20 ms.
QUEUES_AT_ONCE = 1_000
FORGOTTEN_AT_ONCE = 5_000
# A look for more is begun as often; what then remains, others find.
_ROUNDS = 100

_JOIN = """
, waiting AS (
    INSERT INTO delivery_keyqueuemember (subscription_id, key, position, organization_id, delivery_id)
    SELECT subscription_id, key, position, organization_id, id FROM joining
), queued AS (
    INSERT INTO delivery_keyqueue AS queue
        (subscription_id, key, organization_id, sequence, arrivals, next_position, used_at)
    SELECT subscription_id, key, organization_id, min(position) - 1, 1, min(position), statement_timestamp()
    FROM joining GROUP BY subscription_id, key, organization_id ORDER BY subscription_id, key
    ON CONFLICT (subscription_id, key) DO UPDATE SET
        arrivals = queue.arrivals + 1,
        next_position = CASE WHEN queue.head_id IS NULL THEN least(queue.next_position, excluded.next_position) END
)
SELECT count(*) FROM joining
"""
# What exists is left as it is: an event commits its deliveries once.
_JOIN_ANEW = f"""
WITH new AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(organizations)s::uuid[], %(subscriptions)s::uuid[], %(events)s::uuid[], %(keys)s::uuid[],
        %(positions)s::bigint[]
    ) AS new (id, organization_id, subscription_id, event_id, key, position)
), made AS (
    INSERT INTO delivery_delivery
        (id, organization_id, subscription_id, event_id, status, created_at, order_key, replay_id)
    SELECT id, organization_id, subscription_id, event_id, 'pending', statement_timestamp(), key, %(replay)s::uuid
    FROM new
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), joining AS MATERIALIZED (
    SELECT new.* FROM new JOIN made USING (id)
)
{_JOIN}
"""  # noqa: S608 - no input
_JOIN_AGAIN = f"""
WITH joining AS MATERIALIZED (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(organizations)s::uuid[], %(subscriptions)s::uuid[], %(keys)s::uuid[], %(positions)s::bigint[]
    ) AS joining (id, organization_id, subscription_id, key, position)
)
{_JOIN}
"""  # noqa: S608 - no input
# Of a `subscription`: a dead letter does not hold its key.
SKIPS = "(subscription.order_by IS NULL OR subscription.on_dead_letter IS DISTINCT FROM 'hold')"
# Of deliveries `ended` (subscription_id, key, id), those that were heads: their queues are to go on.
LEAVE = """
left_behind AS (
    SELECT queue.subscription_id, queue.key FROM delivery_keyqueue AS queue
    JOIN ended ON ended.subscription_id = queue.subscription_id AND ended.key = queue.key
    WHERE queue.head_id = ended.id ORDER BY queue.subscription_id, queue.key FOR NO KEY UPDATE OF queue
), left_queues AS (
    UPDATE delivery_keyqueue AS queue SET head_id = NULL, next_position = 0
    FROM left_behind WHERE queue.subscription_id = left_behind.subscription_id AND queue.key = left_behind.key
    RETURNING queue.key
)
"""
_ENDED = """
WITH ended AS (
    SELECT * FROM unnest(%(subscriptions)s::uuid[], %(keys)s::uuid[], %(ids)s::uuid[])
        AS ended (subscription_id, key, id)
)
"""
_LEAVE = f"{_ENDED}, {LEAVE} SELECT count(*) FROM left_queues"  # noqa: S608 - no input
# Heads that have left, or have ended and hold nothing.
_LET_GO = f"""
WITH ended AS (
    SELECT queue.subscription_id, queue.key, queue.head_id AS id FROM delivery_keyqueue AS queue
    JOIN delivery_subscription AS subscription ON subscription.id = queue.subscription_id
    LEFT JOIN LATERAL (SELECT status FROM delivery_delivery WHERE id = queue.head_id LIMIT 1) AS delivery ON true
    WHERE queue.head_id IS NOT NULL AND (%(subscription)s::uuid IS NULL OR subscription.id = %(subscription)s)
          AND coalesce(delivery.status, 'delivered') NOT IN ('pending', 'retrying')
          AND (delivery.status IS DISTINCT FROM 'dead_letter' OR {SKIPS})
), {LEAVE} SELECT count(*) FROM left_queues
"""  # noqa: S608 - no input
# Who joins meanwhile waits, and makes a new one.
_FORGET = """
WITH idle AS MATERIALIZED (
    SELECT subscription_id, key FROM delivery_keyqueue
    WHERE head_id IS NULL AND next_position IS NULL AND used_at < %(before)s LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM delivery_keyqueue AS queue USING idle
    WHERE queue.subscription_id = idle.subscription_id AND queue.key = idle.key RETURNING queue.key
)
SELECT count(*) FROM forgotten
"""
_HEADS = f"""
{_ENDED}, heads AS MATERIALIZED (
    SELECT ended.id FROM delivery_keyqueue AS queue
    JOIN ended ON ended.subscription_id = queue.subscription_id AND ended.key = queue.key
    WHERE queue.head_id = ended.id ORDER BY queue.subscription_id, queue.key FOR NO KEY UPDATE OF queue
)
UPDATE delivery_delivery AS delivery SET next_attempt_at = statement_timestamp()
FROM heads WHERE delivery.id = heads.id
RETURNING delivery.id
"""  # noqa: S608 - no input
# A queue that somebody has joined since the statement began looks the same as before: what has joined is not seen. So
# it is left to the next look, unless the one whose turn it is comes before all that is processed now, and so before
# what is not seen. What is seen as a member but does not wait any more (acknowledged, erased) is passed over.
#
# It waits for the disk, also where the records of attempts do not: once the next of a key may be sent, no crash of
# PostgreSQL takes along that the one before was delivered. Where nothing goes on, nothing is written.
_GO_ON = f"""
WITH unprocessed AS MATERIALIZED (
    SELECT {FIRST_UNPROCESSED} AS position, set_config('synchronous_commit', 'on', true)
), queue AS MATERIALIZED (
    SELECT queue.subscription_id, queue.key, queue.sequence, seen.arrivals = queue.arrivals AS is_as_seen
    FROM delivery_keyqueue AS queue
    JOIN delivery_keyqueue AS seen ON seen.subscription_id = queue.subscription_id AND seen.key = queue.key
    WHERE queue.next_position < (SELECT position FROM unprocessed)
          AND (%(subscription)s::uuid IS NULL OR queue.subscription_id = %(subscription)s)
    ORDER BY queue.next_position LIMIT %(limit)s FOR NO KEY UPDATE OF queue SKIP LOCKED
), first AS MATERIALIZED (
    SELECT queue.*, member.position, member.delivery_id,
           member.position < unprocessed.position AS is_its_turn
    FROM queue CROSS JOIN unprocessed
    LEFT JOIN LATERAL (
        SELECT position, delivery_id FROM delivery_keyqueuemember AS member
        WHERE member.subscription_id = queue.subscription_id AND member.key = queue.key
        ORDER BY position LIMIT 1
    ) AS member ON true
), taken AS (
    DELETE FROM delivery_keyqueuemember AS member USING first
    WHERE first.is_its_turn AND member.subscription_id = first.subscription_id AND member.key = first.key
          AND member.position = first.position
), due AS (
    UPDATE delivery_delivery AS delivery
    SET next_attempt_at = least(statement_timestamp(), %(now)s::timestamptz), sequence = first.sequence + 1
    FROM first WHERE first.is_its_turn AND delivery.id = first.delivery_id
         AND delivery.status = 'pending' AND delivery.next_attempt_at IS NULL
    RETURNING delivery.id
), moved AS (
    UPDATE delivery_keyqueue AS queue
    SET head_id = due.id, sequence = queue.sequence + (due.id IS NOT NULL)::int, used_at = statement_timestamp(),
        next_position = CASE WHEN due.id IS NOT NULL THEN NULL
                             WHEN first.is_its_turn THEN 0
                             WHEN first.is_as_seen THEN first.position
                             ELSE queue.next_position END
    FROM first LEFT JOIN due ON due.id = first.delivery_id
    WHERE queue.subscription_id = first.subscription_id AND queue.key = first.key
    RETURNING queue.subscription_id, due.id, queue.next_position < (SELECT position FROM unprocessed) AS is_to_go_on
)
SELECT subscription.organization_id, subscription.id, subscription.kind, moved.due, moved.looked_at, moved.to_go_on
FROM (
    SELECT subscription_id, count(id) AS due, count(*) AS looked_at, count(*) FILTER (WHERE is_to_go_on) AS to_go_on
    FROM moved GROUP BY subscription_id
) AS moved
JOIN delivery_subscription AS subscription ON subscription.id = moved.subscription_id
"""  # noqa: S608 - no input


class Joining(NamedTuple):
    """A delivery that comes into the queue of its key."""

    id: UUID
    organization_id: UUID
    subscription_id: UUID
    event_id: UUID
    key: UUID
    position: int


def join_queues(new: Sequence[Joining], *, replay_id: UUID | None = None) -> int:
    """Make these deliveries, in their queues; returns how many there were none of yet. In the caller's transaction.

    Once that is committed, those whose turn it is go on.
    """
    if not new:
        return 0
    made = _run(_JOIN_ANEW, {**_columns(new), "events": uuid_array(one.event_id for one in new), "replay": replay_id})
    transaction.on_commit(go_on_now)
    return made


def come_back(again: Sequence[Delivery]) -> None:
    """They were made pending again: a head that has held its key is due now, the others come last in their queues.

    At most ingestion.positions.PLACES, in this order.
    """
    if not again:
        return
    with connection.cursor() as cursor:
        cursor.execute(_HEADS, _columns_of(again))
        heads = {pk for (pk,) in cursor.fetchall()}
    joining = [
        Joining(one.pk, one.organization_id, one.subscription_id, one.event_id, one.order_key, position)
        for position, one in enumerate(again, take_positions())
        if one.order_key is not None and one.pk not in heads
    ]
    if joining:
        _run(_JOIN_AGAIN, _columns(joining))
        transaction.on_commit(go_on_now)


def leave_queues(ended: Iterable[Delivery]) -> int:
    """They are delivered or given up: what waited for those that were heads goes on, once that is committed.

    Returns how many were heads.
    """
    keyed = [one for one in ended if one.order_key is not None]
    left = _run(_LEAVE, _columns_of(keyed)) if keyed else 0
    if left:
        transaction.on_commit(go_on_now)
    return left


def let_go(subscription_id: UUID | None = None) -> int:
    """What waits for a head that has left, or has ended and does not hold its key any more, goes on.

    Of one subscription, or of all; returns how many those heads were.
    """
    left = _run(_LET_GO, {"subscription": subscription_id})
    if left:
        transaction.on_commit(go_on_now)
    return left


def forget_queues(*, before: datetime) -> int:
    """Delete a batch of queues in which nothing waits and nothing moved since; returns how many."""
    return _run(_FORGET, {"before": before, "limit": FORGOTTEN_AT_ONCE})


async def go_on(
    database: Database, *, subscription_id: UUID | None = None, now: datetime | None = None
) -> list[tuple[UUID, UUID]]:
    """Have the next of each queue due that has no head, of one subscription or of all; at `now` by the caller's clock.

    Returns organization and subscription of the webhooks that have something due now; who waits for an inbox is told.
    """
    due: set[tuple[UUID, UUID]] = set()
    values = {"subscription": subscription_id, "limit": QUEUES_AT_ONCE, "now": now}
    for _ in range(_ROUNDS):
        rows = await database.fetch(_GO_ON, values)
        found = [(organization, pk, kind) for organization, pk, kind, number, *_ in rows if number]
        due |= {(organization, pk) for organization, pk, kind in found if RULES[kind].is_sent}
        if inboxes := [pk for _, pk, kind in found if not RULES[kind].is_sent]:
            wake_consumers(inboxes)
        if not any(to_go_on for *_, to_go_on in rows) and sum(row[4] for row in rows) < QUEUES_AT_ONCE:
            break
    return sorted(due)


def go_on_now(subscription_id: UUID | None = None, *, now: datetime | None = None) -> None:
    """The same by Django's connection; senders are told. What fails here is found by the next one."""
    try:
        due = run_now(go_on(SyncDatabase(), subscription_id=subscription_id, now=now))
    except psycopg.Error as error:
        logger.warning("queues of keys go on later: %s", type(error).__name__)
    else:
        if due:
            wake_sending(due)


def _columns(joining: Sequence[Joining]) -> dict[str, Any]:
    return {
        "ids": uuid_array(one.id for one in joining),
        "organizations": uuid_array(one.organization_id for one in joining),
        "subscriptions": uuid_array(one.subscription_id for one in joining),
        "keys": uuid_array(one.key for one in joining),
        "positions": array(str(one.position) for one in joining),
    }


def _columns_of(deliveries: Sequence[Delivery]) -> dict[str, Any]:
    """All of them have a key."""
    return {
        "subscriptions": uuid_array(one.subscription_id for one in deliveries),
        "keys": uuid_array(one.order_key for one in deliveries if one.order_key is not None),
        "ids": uuid_array(one.pk for one in deliveries),
    }


def _run(statement: str, values: dict[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        count: int = cursor.fetchone()[0]
    return count
