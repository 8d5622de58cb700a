"""Take due webhook deliveries: skip those that others lock, hold them for a while, read what to send.

All times are the database's: hosts may disagree about theirs.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from uuid_utils.compat import uuid7

from core.ports import Database
from core.postgresql.arrays import array, uuid_array
from core.postgresql.floors import Floors
from delivery.kinds import IS_SENT
from ingestion import stored_data, trace_contexts

# Of a `subscription`. PostgreSQL reads the few that are suspended once for each statement, by an index of their own.
NOT_SUSPENDED = """
subscription.organization_id NOT IN (SELECT id FROM organizations_organization WHERE suspended_at IS NOT NULL)
"""
# Of a delivery. One whose taker did not end in time is due again.
NOT_TAKEN = "(lease_id IS NULL OR greatest(lease_until, next_attempt_at) <= now())"
# What is claimed with a rate limit has its moment within so long: a sender waits for it, and no claim follows each one.
AHEAD = timedelta(seconds=0.25)
_AHEAD = f"interval '{AHEAD.total_seconds()} s'"
# What may be sent to: an endpoint that rests may be tried once in each rest, and when it is over.
_OPEN = f"""
{IS_SENT} AND subscription.status = 'active' AND {NOT_SUSPENDED}
AND (subscription.circuit_open_until IS NULL
     OR coalesce(subscription.circuit_probe_at, subscription.circuit_open_until) <= now())
AND (subscription.rate_limit IS NULL OR coalesce(subscription.next_slot_at, now()) <= now() + {_AHEAD})
"""
_DUE = f"""
SELECT subscription.organization_id, subscription.id, subscription.failures
FROM delivery_subscription AS subscription
CROSS JOIN LATERAL (
    SELECT FROM delivery_delivery
    WHERE subscription_id = subscription.id AND next_attempt_at <= now() AND {NOT_TAKEN} LIMIT 1
) AS due
WHERE {_OPEN}
"""  # noqa: S608 - no input
_WANTED = "unnest(%(wanted)s::uuid[], %(counts)s::int[], %(floors)s::timestamptz[]) AS wanted (id, count, floor)"
_PICK = f"""
SELECT due.id, due.event_id, subscription.id AS subscription_id,
       NULL::timestamptz AS send_at, NULL::timestamptz AS next_slot_at, due.next_attempt_at AS due_at
FROM {_WANTED}
JOIN delivery_subscription AS subscription ON subscription.id = wanted.id AND {_OPEN}
     AND subscription.rate_limit IS NULL AND subscription.max_in_flight IS NULL
CROSS JOIN LATERAL (
    SELECT id, event_id, next_attempt_at FROM delivery_delivery
    WHERE subscription_id = subscription.id AND next_attempt_at >= wanted.floor AND next_attempt_at <= now()
          AND {NOT_TAKEN}
    ORDER BY next_attempt_at, id LIMIT wanted.count FOR UPDATE SKIP LOCKED
) AS due
"""  # noqa: S608 - no input
# Of those with a limit, which holds for all senders together: whoever claims holds the row of the subscription, which
# says when its next slot is. What is in flight is counted as it was when the statement began: if somebody else has
# claimed since, which the row tells, nothing is claimed now, and the other one's attempts, when they end, claim again.
_PICK_LIMITED = f"""
limited AS (
    SELECT subscription.id, wanted.count, wanted.floor, subscription.max_in_flight, subscription.rate_limit,
           seen.next_slot_at IS NOT DISTINCT FROM subscription.next_slot_at AS is_as_seen,
           greatest(coalesce(subscription.next_slot_at, now()), now()) AS first,
           interval '1 s' / coalesce(subscription.rate_limit, 1) AS step
    FROM {_WANTED}
    JOIN delivery_subscription AS subscription ON subscription.id = wanted.id AND {_OPEN}
         AND (subscription.rate_limit IS NOT NULL OR subscription.max_in_flight IS NOT NULL)
    JOIN delivery_subscription AS seen ON seen.id = subscription.id
    ORDER BY subscription.id FOR NO KEY UPDATE OF subscription
), slots AS (
    SELECT limited.*, greatest(0, least(
        count,
        CASE WHEN rate_limit IS NOT NULL
             THEN floor(extract(epoch FROM now() + {_AHEAD} - first) * rate_limit) + 1 END,
        CASE WHEN max_in_flight IS NOT NULL THEN CASE WHEN is_as_seen THEN max_in_flight - (
            SELECT count(*) FROM delivery_delivery
            WHERE subscription_id = limited.id AND next_attempt_at > now() AND lease_id IS NOT NULL
        ) ELSE 0 END END
    ))::int AS room
    FROM limited
), ranked AS (
    SELECT due.id, due.event_id, due.next_attempt_at, slots.id AS subscription_id,
           slots.rate_limit, slots.first, slots.step,
           row_number() OVER (PARTITION BY slots.id) AS number, count(*) OVER (PARTITION BY slots.id) AS taken
    FROM slots
    CROSS JOIN LATERAL (
        SELECT id, event_id, next_attempt_at FROM delivery_delivery
        WHERE subscription_id = slots.id AND next_attempt_at >= slots.floor AND next_attempt_at <= now()
              AND {NOT_TAKEN}
        ORDER BY next_attempt_at, id LIMIT slots.room FOR UPDATE SKIP LOCKED
    ) AS due
), moved AS (
    UPDATE delivery_subscription AS subscription
    SET next_slot_at = CASE WHEN ranked.rate_limit IS NULL THEN clock_timestamp() ELSE first + step * taken END
    FROM ranked WHERE subscription.id = ranked.subscription_id AND ranked.number = 1
)
"""  # noqa: S608 - no input
_OF_LIMITED = """
SELECT id, event_id, subscription_id,
       CASE WHEN rate_limit IS NOT NULL THEN first + step * (number - 1) END,
       CASE WHEN rate_limit IS NOT NULL THEN first + step * taken END, next_attempt_at
FROM ranked
"""
# Whatever the circuit says. Those that are held otherwise are forgotten here: they are due, and sent once resumed, or
# when it is their turn by the rate limit.
_PICK_BY_HAND = f"""
SELECT delivery.id, delivery.event_id, subscription.id AS subscription_id,
       NULL::timestamptz AS send_at, NULL::timestamptz AS next_slot_at, delivery.next_attempt_at AS due_at
FROM asked
JOIN delivery_delivery AS delivery ON delivery.id = asked.delivery_id AND next_attempt_at <= now() AND {NOT_TAKEN}
JOIN delivery_subscription AS subscription ON subscription.id = delivery.subscription_id
     AND {IS_SENT} AND subscription.status = 'active' AND {NOT_SUSPENDED} AND subscription.rate_limit IS NULL
FOR UPDATE OF delivery SKIP LOCKED
"""  # noqa: S608 - no input
_ASKED = """
first_asked AS MATERIALIZED (
    SELECT delivery_id FROM delivery_manualretry ORDER BY asked_at LIMIT %(room)s FOR UPDATE SKIP LOCKED
), asked AS (
    DELETE FROM delivery_manualretry AS retry USING first_asked WHERE retry.delivery_id = first_asked.delivery_id
    RETURNING retry.delivery_id
),
"""
# No column of an index changes, so that PostgreSQL writes no index and, where its page has room, no other page. By
# `next_attempt_at` what is in flight is counted where that has a limit, and older code sees that a delivery is taken.
_TAKE = f"""
UPDATE delivery_delivery AS delivery
SET lease_id = %(lease)s, lease_until = taken.until,
    next_attempt_at = CASE WHEN subscription.max_in_flight IS NOT NULL OR {stored_data.OLDER_CODE_MAY_RUN}
                           THEN taken.until ELSE delivery.next_attempt_at END
FROM picked
JOIN delivery_subscription AS subscription ON subscription.id = picked.subscription_id
CROSS JOIN LATERAL (
    SELECT now() + coalesce(subscription.timeout_seconds, %(timeout)s) * interval '1 s' + %(margin)s AS until
) AS taken
LEFT JOIN ingestion_event AS event ON event.id = picked.event_id
WHERE delivery.id = picked.id
RETURNING delivery.id, delivery.lease_id, delivery.organization_id, delivery.subscription_id, delivery.event_id,
          delivery.attempts, now(),
          event.type, event.received_at, {trace_contexts.COLUMNS},
          subscription.kind, subscription.url, subscription.headers, subscription.secret,
          CASE WHEN subscription.previous_secret_until > now() THEN subscription.previous_secret ELSE '' END,
          {stored_data.COLUMNS}, delivery.retry_id, (event.annotations -> 'attributes')::text,
          subscription.timeout_seconds, subscription.retry_schedule, subscription.auth, subscription.max_in_flight,
          picked.send_at, picked.next_slot_at, coalesce(delivery.earlier_attempts, 0), delivery.sequence,
          picked.due_at
"""  # noqa: S608 - no input
_CLAIM = f"WITH {_PICK_LIMITED}, free AS ({_PICK}), picked AS (TABLE free UNION ALL {_OF_LIMITED}) {_TAKE}"
_CLAIM_BY_HAND = f"WITH {_ASKED} picked AS ({_PICK_BY_HAND}) {_TAKE}"
_GIVE_BACK = """
UPDATE delivery_delivery AS delivery
SET next_attempt_at = least(next_attempt_at, now()), lease_id = NULL, lease_until = NULL
FROM unnest(%(ids)s::uuid[], %(leases)s::uuid[]) AS given (id, lease_id)
WHERE delivery.id = given.id AND delivery.lease_id = given.lease_id
"""
# A wait for a turn comes on top of the attempt, and the record. Not more: a claim that PostgreSQL has made, and whose
# answer was lost when it hung, holds its deliveries for as long as this.
MARGIN = timedelta(seconds=5)


class Claimed(msgspec.Struct, frozen=True):
    """A delivery that this process may attempt until its lease ends. `type` is None when its event is gone.

    `timeout_seconds` and `retry_schedule` are None where the platform's settings count. With a rate limit it is not to
    be sent before `send_at`, which is at most AHEAD, and more can be claimed from `next_slot_at` on. `attempts` are
    those since it last started over, by which the schedule goes; before that there were `earlier_attempts`. `sequence`
    is its number in the order of its key, if it has one. It has been due since `due_at`.
    `traceparent` and `tracestate` are as the event came with them, valid or not. `data` and `attributes`, those of a
    CloudEvent without a field here, are JSON texts.
    """

    id: UUID
    lease_id: UUID
    organization_id: UUID
    subscription_id: UUID
    event_id: UUID
    attempts: int
    claimed_at: datetime
    type: str | None
    received_at: datetime | None
    traceparent: str | None
    tracestate: str | None
    kind: str
    url: str
    headers: dict[str, str]
    secret: str
    previous_secret: str
    data: str | None
    retry_id: UUID | None = None
    attributes: str | None = None
    timeout_seconds: float | None = None
    retry_schedule: list[int] | None = None
    auth: dict[str, Any] | None = None
    max_in_flight: int | None = None
    send_at: datetime | None = None
    next_slot_at: datetime | None = None
    earlier_attempts: int = 0
    sequence: int | None = None
    due_at: datetime | None = None

    @property
    def number(self) -> int:
        """Of the next attempt; all of a delivery are numbered through, from 1."""
        return self.earlier_attempts + self.attempts + 1


_DATA = Claimed.__struct_fields__.index("data")


async def find_due(database: Database) -> list[tuple[UUID, UUID, int]]:
    """Organization, subscription and its failures in a row, of those that something could be sent to now."""
    return [(organization, pk, failures) for organization, pk, failures in await database.fetch(_DUE, {})]


async def claim(database: Database, wanted: Mapping[UUID, int], floors: Floors[UUID] | None = None) -> list[Claimed]:
    """Of each subscription so many deliveries as are wanted, those first that have been due the longest.

    With `floors` that are not whole afterwards, there may be others, which became due before.
    """
    floors = floors or Floors()
    floors.begin()
    values = {
        "wanted": uuid_array(wanted),
        "counts": array(map(str, wanted.values())),
        "floors": array(floors.of(pk).isoformat() for pk in wanted),
    }
    taken = await _take(database, _CLAIM, values)
    oldest: dict[UUID, datetime] = {}
    for one in taken:
        if one.due_at is not None:
            oldest[one.subscription_id] = min(one.due_at, oldest.get(one.subscription_id, one.due_at))
    floors.end(oldest)
    return taken


async def claim_manual_retries(database: Database, *, room: int) -> list[Claimed]:
    """At most `room` deliveries that somebody wants tried at once."""
    return await _take(database, _CLAIM_BY_HAND, {"room": room})


async def _take(database: Database, statement: str, values: dict[str, Any]) -> list[Claimed]:
    lease = {"lease": uuid7(), "timeout": settings.WEBHOOK_TIMEOUT_SECONDS, "margin": MARGIN}
    rows = await database.fetch(statement, {**values, **lease})
    return [Claimed(*(*row[:_DATA], stored_data.data_of(*row[_DATA : _DATA + 2]), *row[_DATA + 2 :])) for row in rows]


async def give_back(database: Database, claimed: Sequence[Claimed]) -> None:
    """They are due again at once, not attempted."""
    values = {
        "ids": uuid_array(one.id for one in claimed),
        "leases": uuid_array(one.lease_id for one in claimed),
    }
    await database.fetch(_GIVE_BACK, values)
