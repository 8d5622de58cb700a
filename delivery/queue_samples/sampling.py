"""Looks at what waits for every endpoint, once a minute, by one statement however many there are."""

from datetime import datetime

from django.db import connection

from delivery.kinds import IS_SENT
from delivery.outcome_counts.models import CountStep

# Of one endpoint no more is counted, and no more of all together: with more than thirty queues each is counted to a
# lower number, but to SURELY_COUNTED at least.
MOST_COUNTED, MOST_OF_ALL, SURELY_COUNTED = 10_000, 300_000, 100
# What is on its way is no queue: an endpoint that answers has none.
MIN_SECONDS = 5
# In sorted order, so that two of them never wait for each other crosswise.
_SAMPLE = f"""
WITH busy AS MATERIALIZED (
    SELECT subscription.organization_id, subscription.id
    FROM delivery_subscription AS subscription CROSS JOIN LATERAL (
        SELECT FROM delivery_delivery
        WHERE subscription_id = subscription.id AND next_attempt_at IS NOT NULL
        ORDER BY next_attempt_at, id LIMIT 1
    ) AS first
    WHERE {IS_SENT} AND subscription.status <> 'deleted'
), share AS MATERIALIZED (
    SELECT greatest(%(surely)s, least(%(most)s, %(all)s / greatest(count(*), 1))) AS most FROM busy
), found AS MATERIALIZED (
    SELECT busy.organization_id, busy.id, queue.waiting, queue.oldest
    FROM busy CROSS JOIN LATERAL (
        SELECT count(*) AS waiting, extract(epoch FROM %(now)s - min(created_at))::int AS oldest FROM (
            SELECT created_at FROM delivery_delivery
            WHERE subscription_id = busy.id AND next_attempt_at IS NOT NULL
            ORDER BY next_attempt_at, id LIMIT (SELECT most FROM share)
        ) AS counted
    ) AS queue
    WHERE queue.oldest >= %(seconds)s
)
INSERT INTO delivery_queuesample AS known (organization_id, subscription_id, step, start, waiting, oldest_seconds)
SELECT organization_id, id, step, to_timestamp(floor(extract(epoch FROM %(now)s) / step) * step), waiting, oldest
FROM found CROSS JOIN unnest(%(steps)s::int[]) AS step
ORDER BY id, step
ON CONFLICT (subscription_id, step, start) DO UPDATE SET
    waiting = greatest(known.waiting, excluded.waiting),
    oldest_seconds = greatest(known.oldest_seconds, excluded.oldest_seconds)
"""  # noqa: S608 - no input


def sample_queues(*, now: datetime) -> None:
    """Keep, for this minute and this hour, how much waits for each endpoint for which anything does."""
    with connection.cursor() as cursor:
        cursor.execute(
            _SAMPLE,
            {
                "now": now,
                "steps": list(CountStep),
                "most": MOST_COUNTED,
                "all": MOST_OF_ALL,
                "surely": SURELY_COUNTED,
                "seconds": MIN_SECONDS,
            },
        )
