"""Attempts counted in the sender and written in bulk: nothing that a delivery waits for.

A killed sender takes the counts of its last seconds along; they are statistics, not the truth.
"""

import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from core.ports import Database
from delivery.metrics import DELIVERED
from delivery.outcome_counts.buckets import bucket_of
from delivery.outcome_counts.models import CountStep
from delivery.webhooks.recording import AttemptOutcome

PAUSE_SECONDS = 2.0
_STEPS = tuple(CountStep)
# In sorted order, so that two senders never wait for each other crosswise.
_WRITE = """
INSERT INTO delivery_outcomecount AS known (organization_id, subscription_id, step, start, outcome, bucket, count)
SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::int[], %s::timestamptz[], %s::text[], %s::int[], %s::bigint[])
    AS new (organization_id, subscription_id, step, start, outcome, bucket, count)
ORDER BY subscription_id, step, start, outcome, bucket
ON CONFLICT (subscription_id, step, start, outcome, bucket) DO UPDATE SET count = known.count + excluded.count
RETURNING 1
"""


class OutcomeCounter:
    """Of one sender."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[UUID, UUID, int, int, str, int]] = Counter()
        self._written_at = float("-inf")

    def note(self, outcomes: Iterable[AttemptOutcome]) -> None:
        for outcome in outcomes:
            if (result := outcome.result) is None:
                continue
            claimed, began = outcome.claimed, int(outcome.started_at.timestamp())
            ending = result.error.value if result.error else DELIVERED
            for step in _STEPS:
                key = claimed.organization_id, claimed.subscription_id, int(step), began - began % step
                self._counts[*key, ending, bucket_of(result.duration_ms)] += 1

    @property
    def is_due(self) -> bool:
        return bool(self._counts) and time.monotonic() - self._written_at >= PAUSE_SECONDS

    async def write(self, database: Database) -> None:
        """All that was counted. What cannot be written is lost: it is no reason to hold up a delivery."""
        counts, self._counts = self._counts, Counter()
        self._written_at = time.monotonic()
        if not counts:
            return
        organizations, subscriptions, steps, starts, outcomes, buckets = zip(*counts, strict=True)
        moments = [datetime.fromtimestamp(start, UTC) for start in starts]
        columns = [organizations, subscriptions, steps, moments, outcomes, buckets, counts.values()]
        await database.fetch(_WRITE, [list(column) for column in columns])
