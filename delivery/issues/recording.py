"""Issues as outcomes are recorded: failures open them, in bulk, and a later success resolves them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from core.postgresql.arrays import array, text_array, uuid_array

# In the order of the constraint's index, so that two senders never wait for each other crosswise. A failure that began
# before the success that resolved its issue, but ended after it, opens nothing.
OPEN_ISSUES = """
INSERT INTO delivery_issue AS known (id, organization_id, subscription_id, error, status_code, first_seen_at,
                                     opened_at, last_seen_at, last_delivery_id, count)
SELECT id, organization_id, subscription_id, error, code, first_seen, first_seen, last_seen, delivery_id, number
FROM unnest(
    %(ids)s::uuid[], %(organizations)s::uuid[], %(subscriptions)s::uuid[], %(errors)s::text[], %(codes)s::int[],
    %(first_seen)s::timestamptz[], %(last_seen)s::timestamptz[], %(deliveries)s::uuid[], %(numbers)s::int[]
) AS failed (id, organization_id, subscription_id, error, code, first_seen, last_seen, delivery_id, number)
ORDER BY subscription_id, error, code
ON CONFLICT (subscription_id, error, status_code) DO UPDATE
SET count = known.count + excluded.count,
    last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at),
    last_delivery_id = excluded.last_delivery_id,
    opened_at = CASE WHEN known.resolved_at < excluded.last_seen_at THEN excluded.first_seen_at
                     ELSE known.opened_at END,
    reopened = known.reopened + coalesce(known.resolved_at < excluded.last_seen_at, false)::int,
    resolved_at = CASE WHEN known.resolved_at >= excluded.last_seen_at THEN known.resolved_at END
RETURNING 1
"""
# For a statement with `seen (id, succeeded_last)`, of subscriptions. Locked in the same order.
RESOLVING = """
resolving AS (
    SELECT issue.id, seen.succeeded_last
    FROM seen JOIN delivery_issue AS issue ON issue.subscription_id = seen.id
    WHERE issue.resolved_at IS NULL AND issue.last_seen_at < seen.succeeded_last
    ORDER BY issue.subscription_id, issue.error, issue.status_code FOR NO KEY UPDATE OF issue
), resolved AS (
    UPDATE delivery_issue AS issue SET resolved_at = resolving.succeeded_last
    FROM resolving WHERE issue.id = resolving.id
)"""


class Failure(msgspec.Struct, frozen=True):
    """One failed attempt. `status_code` is 0 when there was no answer, or when another error says more."""

    organization_id: UUID
    subscription_id: UUID
    error: str
    status_code: int
    delivery_id: UUID
    started_at: datetime


def issue_columns(failures: Sequence[Failure]) -> dict[str, Any]:
    """The values of OPEN_ISSUES: a row for each endpoint and error."""
    grouped: dict[tuple[UUID, str, int], list[Failure]] = {}
    for failure in failures:
        grouped.setdefault((failure.subscription_id, failure.error, failure.status_code), []).append(failure)
    groups = [sorted(each, key=lambda failure: failure.started_at) for each in grouped.values()]
    return {
        "ids": uuid_array(uuid7() for _ in groups),
        "organizations": uuid_array(each[0].organization_id for each in groups),
        "subscriptions": uuid_array(each[0].subscription_id for each in groups),
        "errors": text_array(each[0].error for each in groups),
        "codes": array(str(each[0].status_code) for each in groups),
        "first_seen": text_array(each[0].started_at.isoformat() for each in groups),
        "last_seen": text_array(each[-1].started_at.isoformat() for each in groups),
        "deliveries": uuid_array(each[-1].delivery_id for each in groups),
        "numbers": array(str(len(each)) for each in groups),
    }
