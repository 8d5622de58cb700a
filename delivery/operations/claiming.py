"""Take due webhook deliveries: skip those that others lock, move their due time forward, read what to send."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from uuid_utils.compat import uuid7

from ingestion import trace_contexts
from rest.arrays import array, uuid_array
from rest.ports import Database

# An endpoint that works may have so many taken at once; one that failed has fewer with each failure, down to one.
MOST_FOR_WORKING = 100
MOST_FOR_FAILING = 10

# Subscriptions are visited in the order of their ids, from where the last claim ended, so that none is left out when
# there is more due than room. The limit of each is what it may have, less what it has.
_CLAIM = f"""
WITH picked AS (
    SELECT due.id, due.event_id, subscription.id AS subscription_id
    FROM delivery_subscription AS subscription
    LEFT JOIN unnest(%(busy)s::uuid[], %(counts)s::int[]) AS busy (id, count) ON busy.id = subscription.id
    CROSS JOIN LATERAL (
        SELECT id, event_id FROM delivery_delivery
        WHERE subscription_id = subscription.id AND next_attempt_at <= %(now)s
        ORDER BY next_attempt_at, id
        LIMIT greatest(
            0,
            CASE subscription.failures WHEN 0 THEN %(working)s
            ELSE greatest(1, %(failing)s - subscription.failures) END - coalesce(busy.count, 0)
        )
        FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE subscription.kind = 'webhook' AND subscription.status = 'active' AND subscription.id > %(after)s
      AND (subscription.circuit_open_until IS NULL OR subscription.circuit_open_until <= %(now)s)
    ORDER BY subscription.id
    LIMIT %(room)s
)
UPDATE delivery_delivery AS delivery SET next_attempt_at = %(until)s, lease_id = %(lease)s
FROM picked
JOIN delivery_subscription AS subscription ON subscription.id = picked.subscription_id
LEFT JOIN ingestion_event AS event ON event.id = picked.event_id
WHERE delivery.id = picked.id
RETURNING delivery.id, delivery.lease_id, delivery.organization_id, delivery.subscription_id, delivery.event_id,
          delivery.attempts,
          event.type, event.received_at, event.data::text, {trace_contexts.COLUMNS},
          subscription.url, subscription.headers, subscription.secret,
          CASE WHEN subscription.previous_secret_until > %(now)s THEN subscription.previous_secret ELSE '' END
"""  # noqa: S608 - no input
_FIRST = UUID(int=0)


def lease_seconds() -> float:
    """How long a taker that dies keeps its deliveries: a wait for a turn and an attempt, each as long as can be."""
    return 2 * settings.WEBHOOK_TIMEOUT_SECONDS + 10


class Claimed(msgspec.Struct, frozen=True):
    """A delivery that this process may attempt until its lease ends. `type` is None when its event is gone.

    `traceparent` and `tracestate` are as the event came with them, valid or not.
    """

    id: UUID
    lease_id: UUID
    organization_id: UUID
    subscription_id: UUID
    event_id: UUID
    attempts: int
    type: str | None
    received_at: datetime | None
    data: str | None
    traceparent: str | None
    tracestate: str | None
    url: str
    headers: dict[str, str]
    secret: str
    previous_secret: str


class Claimer:
    """Claims for one sender, round and round the subscriptions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after = _FIRST

    async def claim(self, *, busy: Mapping[UUID, int], room: int, now: datetime) -> list[Claimed]:
        """At most `room` deliveries that are due. `busy`: how many of each subscription the caller has already."""
        claimed = await self._claim(busy, room, now)
        if not claimed and self._after != _FIRST:
            self._after = _FIRST
            claimed = await self._claim(busy, room, now)
        # A full claim may have stopped in the middle of a subscription: it has had its turn.
        self._after = max((one.subscription_id for one in claimed), default=_FIRST)
        return claimed

    async def _claim(self, busy: Mapping[UUID, int], room: int, now: datetime) -> list[Claimed]:
        values: dict[str, Any] = {
            "busy": uuid_array(busy),
            "counts": array(map(str, busy.values())),
            "working": MOST_FOR_WORKING,
            "failing": MOST_FOR_FAILING,
            "after": self._after,
            "room": room,
            "lease": uuid7(),
            "now": now,
            "until": now + timedelta(seconds=lease_seconds()),
        }
        return [Claimed(*row) for row in await self._database.fetch(_CLAIM, values)]
