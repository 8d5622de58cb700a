"""Write down what came of attempts: the deliveries, the attempts, and the health of the subscriptions, in bulk."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from uuid_utils.compat import uuid7

from core.ports import Database
from core.postgresql.arrays import array, bytes_array, text_array, uuid_array
from delivery.attempt_errors import AttemptError
from delivery.attempts.records import pack
from delivery.issues.recording import OPEN_ISSUES, RESOLVING, Failure, issue_columns
from delivery.metrics import DELIVERED, note_attempts, note_dead_letters
from delivery.models import DeliveryStatus
from delivery.ordering.queues import LEAVE, SKIPS
from delivery.webhooks.claiming import Claimed
from delivery.webhooks.retry_schedule import next_attempt
from delivery.webhooks.sending import AttemptResult

# After so many failures in a row the circuit opens and the endpoint rests, for twice as long after each failed probe.
CIRCUIT_FAILURES = 25
CIRCUIT_SECONDS = 10
LONGEST_CIRCUIT_SECONDS = 300
# An endpoint that has done nothing but fail for so long is given up.
GIVE_UP_AFTER = timedelta(hours=120)
EVENT_GONE = "event_gone"

# A delivery whose lease has passed to another is left alone: what happened to it is the other's to say. What is kept in
# the delivery of a first attempt that succeeded has no row.
_RECORD = """
WITH outcome AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(leases)s::uuid[], %(statuses)s::text[], %(due)s::timestamptz[], %(errors)s::text[],
        %(counted)s::int[], %(retries)s::uuid[], %(first_durations)s::int[], %(first_attempts)s::bytea[],
        %(first_responses)s::text[]
    ) AS outcome (id, lease_id, status, next_attempt_at, error, counted, retry_id, first_duration, first_attempt,
                  first_response)
), attempted AS (
    INSERT INTO delivery_attempt (id, organization_id, subscription_id, delivery_id, number, started_at, duration_ms,
                                  status_code, error, response, record)
    SELECT * FROM unnest(
        %(attempt_ids)s::uuid[], %(organizations)s::uuid[], %(subscriptions)s::uuid[], %(attempted)s::uuid[],
        %(numbers)s::int[], %(started)s::timestamptz[], %(durations)s::int[], %(codes)s::int[],
        %(attempt_errors)s::text[], %(responses)s::text[], %(records)s::bytea[]
    )
    ON CONFLICT (id) DO NOTHING
), written AS (
    UPDATE delivery_delivery AS delivery
    SET status = outcome.status, attempts = delivery.attempts + outcome.counted, last_error = outcome.error,
        next_attempt_at = outcome.next_attempt_at, lease_id = NULL, lease_until = NULL, retry_id = NULL,
        delivered_at = CASE outcome.status WHEN 'delivered' THEN now() END,
        first_duration_ms = coalesce(outcome.first_duration, delivery.first_duration_ms),
        first_attempt = coalesce(outcome.first_attempt, delivery.first_attempt),
        first_response = coalesce(outcome.first_response, delivery.first_response)
    FROM outcome WHERE delivery.id = outcome.id AND delivery.lease_id = outcome.lease_id
    RETURNING delivery.id, outcome.status, outcome.retry_id{also}
), retried AS (
    SELECT retry_id, count(*) FILTER (WHERE status = 'delivered') AS delivered,
           count(*) FILTER (WHERE status <> 'delivered') AS failed_again
    FROM written WHERE retry_id IS NOT NULL GROUP BY retry_id
), held AS (
    SELECT retry_id FROM delivery_retryoutcomes WHERE retry_id IN (SELECT retry_id FROM retried)
    ORDER BY retry_id FOR NO KEY UPDATE
), told AS (
    UPDATE delivery_retryoutcomes AS outcomes
    SET delivered = outcomes.delivered + retried.delivered, failed_again = outcomes.failed_again + retried.failed_again
    FROM retried JOIN held USING (retry_id) WHERE outcomes.retry_id = retried.retry_id
){queues}
SELECT id FROM written
"""
_DELIVERIES = _RECORD.format(also="", queues="")
# Where some of them have an order: one that ended makes room for the next of its key. A dead letter may hold it, unless
# its event is gone, so that no retry can end it.
_DELIVERIES_IN_ORDER = _RECORD.format(
    also=", outcome.error, delivery.subscription_id, delivery.order_key",
    queues=f""", ended AS (
    SELECT written.subscription_id, written.order_key AS key, written.id FROM written
    JOIN delivery_subscription AS subscription ON subscription.id = written.subscription_id
    WHERE written.status = 'delivered'
          OR written.status = 'dead_letter' AND (written.error = '{EVENT_GONE}' OR {SKIPS})
), {LEAVE}""",  # noqa: S608 - no input
)

# A first attempt that succeeded, but whose delivery was the other's by then. Not one that is kept there: a record may
# be written twice, when the answer of PostgreSQL to the first was lost.
_LATE = """
INSERT INTO delivery_attempt (id, organization_id, subscription_id, delivery_id, number, started_at, duration_ms,
                              status_code, error, response, record)
SELECT attempt.* FROM unnest(
    %(attempt_ids)s::uuid[], %(organizations)s::uuid[], %(subscriptions)s::uuid[], %(attempted)s::uuid[],
    %(numbers)s::int[], %(started)s::timestamptz[], %(durations)s::int[], %(codes)s::int[],
    %(attempt_errors)s::text[], %(responses)s::text[], %(records)s::bytea[]
) AS attempt (id, organization_id, subscription_id, delivery_id, number, started_at, duration_ms, status_code, error,
              response, record)
WHERE NOT EXISTS (
    SELECT FROM delivery_delivery AS delivery
    WHERE delivery.id = attempt.delivery_id AND delivery.first_attempt = attempt.record
)
ON CONFLICT (id) DO NOTHING
"""

# Rows are locked in primary-key order. A healthy subscription is written at most once a second.
#
# The circuit counts rounds: what was sent before the rest began says nothing new, however many they are, and however
# late they fail. A failed probe, which was sent after the rest, makes the next rest longer. The one that may try in the
# middle of a rest, so that an endpoint that is back need not wait for all of it, changes nothing when it fails.
_HEALTH = f"""
WITH seen AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(successes)s::int[], %(failed)s::int[], %(failed_last)s::timestamptz[],
        %(succeeded_last)s::timestamptz[], %(errors)s::text[], %(gone)s::bool[]
    ) AS seen (id, successes, failed, failed_last, succeeded_last, error, gone)
), {RESOLVING}, locked AS (
    SELECT id FROM delivery_subscription WHERE id IN (SELECT id FROM seen) ORDER BY id FOR NO KEY UPDATE
), judged AS (
    SELECT subscription.id, seen.successes, seen.failed_last, seen.error, subscription.circuit_step AS step_before,
           CASE WHEN successes > 0 THEN 0 ELSE subscription.failures + failed END AS failures,
           CASE WHEN successes > 0 THEN 0
                WHEN subscription.circuit_open_until IS NULL
                THEN (subscription.failures + failed >= %(circuit)s)::int
                WHEN failed_last >= subscription.circuit_open_until THEN subscription.circuit_step + 1
                ELSE subscription.circuit_step END AS step,
           CASE WHEN successes > 0 THEN NULL ELSE coalesce(subscription.failing_since, now()) END AS failing_since,
           CASE WHEN subscription.status <> 'active' THEN ''
                WHEN gone THEN 'gone'
                WHEN successes = 0 AND subscription.failing_since < now() - %(give_up)s::interval THEN 'failing'
                ELSE '' END AS disabled
    FROM seen JOIN locked USING (id) JOIN delivery_subscription AS subscription USING (id)
    WHERE failed > 0 OR subscription.failures > 0 OR subscription.last_success_at IS NULL
       OR subscription.last_success_at < now() - interval '1 second'
), stepped AS (
    SELECT *, step > step_before AS opens,
           make_interval(secs => least(%(longest)s, %(shortest)s * 2 ^ least(greatest(step - 1, 0), 9))) AS rest
    FROM judged
)
UPDATE delivery_subscription AS subscription
SET failures = stepped.failures, failing_since = stepped.failing_since, last_attempt_at = now(),
    last_success_at = CASE WHEN successes > 0 THEN now() ELSE subscription.last_success_at END,
    last_error = stepped.error, circuit_step = step,
    circuit_open_until = CASE WHEN opens THEN now() + rest WHEN step > 0 THEN circuit_open_until END,
    circuit_probe_at = CASE WHEN opens THEN now() + rest / 2
                            WHEN step > 0 AND failed_last >= circuit_probe_at THEN circuit_open_until
                            WHEN step > 0 THEN circuit_probe_at END,
    status = CASE disabled WHEN '' THEN subscription.status ELSE 'disabled' END,
    disabled_reason = CASE disabled WHEN '' THEN subscription.disabled_reason ELSE disabled END,
    disabled_at = CASE disabled WHEN '' THEN subscription.disabled_at ELSE now() END
FROM stepped WHERE subscription.id = stepped.id
RETURNING subscription.id, subscription.organization_id, subscription.url, disabled
"""  # noqa: S608 - the part is our own


class AttemptOutcome(msgspec.Struct, frozen=True):
    """One attempt and what came of it; no `result` when there was nothing to send, as the event is gone.

    `started_at` is by the database's clock. The id is the attempt's, so that recording it twice changes nothing.
    """

    claimed: Claimed
    started_at: datetime
    result: AttemptResult | None
    id: UUID = msgspec.field(default_factory=uuid7)

    @property
    def ended_at(self) -> datetime:
        return self.started_at + timedelta(milliseconds=self.result.duration_ms if self.result else 0)

    @property
    def is_first_success(self) -> bool:
        """Whether it is kept in the delivery's row."""
        return self.result is not None and self.result.delivered and self.claimed.number == 1


class Verdict(msgspec.Struct, frozen=True):
    """What an outcome makes of its delivery."""

    status: DeliveryStatus
    next_attempt_at: datetime | None
    error: str


class Disabled(msgspec.Struct, frozen=True):
    """A subscription that was given up."""

    subscription_id: UUID
    organization_id: UUID
    url: str
    reason: str


def judge(outcome: AttemptOutcome, *, jitter: float) -> Verdict:
    """Delivered, to be tried again, or a dead letter."""
    result = outcome.result
    if result is None:
        return Verdict(DeliveryStatus.DEAD_LETTER, None, EVENT_GONE)
    if result.error is None:
        return Verdict(DeliveryStatus.DELIVERED, None, "")
    own = outcome.claimed.retry_schedule
    due = next_attempt(
        attempts=outcome.claimed.attempts + 1,
        now=outcome.ended_at,
        schedule=settings.WEBHOOK_RETRY_SCHEDULE if own is None else own,
        jitter=jitter,
        retry_after=result.retry_after,
    )
    return Verdict(DeliveryStatus.RETRYING if due else DeliveryStatus.DEAD_LETTER, due, result.error.value)


async def record_outcomes(
    database: Database, outcomes: Sequence[AttemptOutcome]
) -> tuple[list[AttemptOutcome], list[Disabled]]:
    """Write them; returns those that became dead letters, and the subscriptions that are disabled from now on."""
    verdicts = [judge(outcome, jitter=random.random()) for outcome in outcomes]  # noqa: S311 - it spreads load
    attempts = [outcome for outcome in outcomes if outcome.result is not None]
    rows = [outcome for outcome in attempts if not outcome.is_first_success]
    values = {**_delivery_columns(outcomes, verdicts), **_attempt_columns(rows)}
    in_order = any(outcome.claimed.sequence is not None for outcome in outcomes)
    statement = _DELIVERIES_IN_ORDER if in_order else _DELIVERIES
    written = {row[0] for row in await database.fetch(statement, values)}
    late = [outcome for outcome in attempts if outcome.is_first_success and outcome.claimed.id not in written]
    if late:
        await database.fetch(_LATE, _attempt_columns(late))
    if failures := [failure for outcome in attempts if (failure := _failure(outcome))]:
        await database.fetch(OPEN_ISSUES, issue_columns(failures))
    disabled = await _record_health(database, attempts) if attempts else []
    dead = [
        outcome
        for outcome, verdict in zip(outcomes, verdicts, strict=True)
        if verdict.status == DeliveryStatus.DEAD_LETTER and outcome.claimed.id in written
    ]
    note_dead_letters(verdict.error for verdict in verdicts if verdict.status == DeliveryStatus.DEAD_LETTER)
    note_attempts(
        (verdict.error or DELIVERED for outcome, verdict in zip(outcomes, verdicts, strict=True) if outcome.result),
        (outcome.result.duration_ms for outcome in attempts if outcome.result),
    )
    return dead, disabled


def _delivery_columns(outcomes: Sequence[AttemptOutcome], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    first = [outcome.result if outcome.is_first_success else None for outcome in outcomes]
    return {
        "first_durations": array("NULL" if result is None else str(result.duration_ms) for result in first),
        "first_attempts": bytes_array(_packed(outcome) if outcome.is_first_success else None for outcome in outcomes),
        "first_responses": text_array(result.response_text or None if result else None for result in first),
        "ids": uuid_array(outcome.claimed.id for outcome in outcomes),
        "leases": uuid_array(outcome.claimed.lease_id for outcome in outcomes),
        "statuses": array(verdict.status.value for verdict in verdicts),
        "due": text_array(_text(verdict.next_attempt_at) for verdict in verdicts),
        "errors": text_array(verdict.error for verdict in verdicts),
        "counted": array("0" if outcome.result is None else "1" for outcome in outcomes),
        "retries": text_array(str(pk) if (pk := outcome.claimed.retry_id) else None for outcome in outcomes),
    }


def _attempt_columns(outcomes: Sequence[AttemptOutcome]) -> dict[str, Any]:
    results = [outcome.result for outcome in outcomes if outcome.result]
    claimed = [outcome.claimed for outcome in outcomes]
    return {
        "attempt_ids": uuid_array(outcome.id for outcome in outcomes),
        "organizations": uuid_array(one.organization_id for one in claimed),
        "subscriptions": uuid_array(one.subscription_id for one in claimed),
        "attempted": uuid_array(one.id for one in claimed),
        "numbers": array(str(one.number) for one in claimed),
        "started": text_array(outcome.started_at.isoformat() for outcome in outcomes),
        "durations": array(str(result.duration_ms) for result in results),
        "codes": array("NULL" if result.status is None else str(result.status) for result in results),
        "attempt_errors": text_array(result.error.value if result.error else "" for result in results),
        "responses": text_array(result.response_text for result in results),
        "records": bytes_array(_packed(outcome) for outcome in outcomes),
    }


def _packed(outcome: AttemptOutcome) -> bytes | None:
    if outcome.result is None:
        return None
    return pack(outcome.result.record(outcome.started_at), event_id=outcome.claimed.event_id)


def _failure(outcome: AttemptOutcome) -> Failure | None:
    """For its issue; None when it was delivered."""
    claimed, result = outcome.claimed, outcome.result
    if result is None or result.error is None:
        return None
    return Failure(
        claimed.organization_id,
        claimed.subscription_id,
        result.error.value,
        (result.status or 0) if result.error is AttemptError.HTTP_ERROR else 0,
        claimed.id,
        outcome.started_at,
    )


async def _record_health(database: Database, outcomes: Sequence[AttemptOutcome]) -> list[Disabled]:
    by_subscription: dict[UUID, list[AttemptOutcome]] = {}
    for outcome in outcomes:
        by_subscription.setdefault(outcome.claimed.subscription_id, []).append(outcome)
    seen = list(by_subscription.values())
    failed = [[one for one in each if one.result and not one.result.delivered] for each in seen]
    values = {
        "ids": uuid_array(by_subscription),
        "successes": array(str(len(each) - len(bad)) for each, bad in zip(seen, failed, strict=True)),
        "failed": array(str(len(bad)) for bad in failed),
        "failed_last": text_array(_text(max((one.started_at for one in bad), default=None)) for bad in failed),
        "succeeded_last": text_array(
            _text(max((one.started_at for one in each if one.result and one.result.delivered), default=None))
            for each in seen
        ),
        "errors": text_array(_last_error(each) for each in seen),
        "gone": array(str(any(one.result and one.result.gone for one in each)) for each in seen),
        "give_up": GIVE_UP_AFTER,
        "circuit": CIRCUIT_FAILURES,
        "shortest": CIRCUIT_SECONDS,
        "longest": LONGEST_CIRCUIT_SECONDS,
    }
    rows = await database.fetch(_HEALTH, values)
    return [Disabled(*row) for row in rows if row[3]]


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _last_error(outcomes: Sequence[AttemptOutcome]) -> str:
    last = outcomes[-1].result
    return last.error.value if last and last.error else ""
