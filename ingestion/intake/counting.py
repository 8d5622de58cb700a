"""What became of each organization's events, counted in the process and written in bulk: nothing a request waits for.

A killed process takes the counts of its last seconds along; they are statistics, not the truth.
"""

import time
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

from core.ports import Database
from core.problems import Problem
from ingestion.metrics import note_events

ACCEPTED = "accepted"
DUPLICATE = "duplicate"

# In sorted order, so that two processes never wait for each other crosswise. An organization may be gone by now.
_RECORD = """
INSERT INTO ingestion_intakecount AS known (organization_id, minute, outcome, count)
SELECT organization_id, minute, outcome, count
FROM unnest(%s::uuid[], %s::timestamptz[], %s::text[], %s::bigint[]) AS new (organization_id, minute, outcome, count)
WHERE organization_id IN (SELECT id FROM organizations_organization)
ORDER BY 1, 2, 3
ON CONFLICT (organization_id, minute, outcome) DO UPDATE SET count = known.count + excluded.count
"""

_counts: Counter[tuple[UUID, int, str]] = Counter()


def note(organization_id: UUID, outcome: str, count: int = 1) -> None:
    """`outcome`: ACCEPTED, DUPLICATE or the code of a problem."""
    _counts[organization_id, int(time.time() // 60), outcome] += count
    note_events(outcome, count)


def note_outcome(organization_id: UUID, outcome: object) -> None:
    """An event's Accepted or Problem."""
    if isinstance(outcome, Problem):
        note(organization_id, outcome.problem_type.code)
    else:
        note(organization_id, DUPLICATE if getattr(outcome, "duplicate", False) else ACCEPTED)


async def record_counts(database: Database) -> int:
    """Add this process's counts to the rows; returns how many rows. Counts that cannot be written are kept."""
    counts = dict(_counts)
    if not counts:
        return 0
    _counts.clear()
    organizations, minutes, outcomes = zip(*counts, strict=True)
    moments = [datetime.fromtimestamp(minute * 60, UTC) for minute in minutes]
    try:
        await database.fetch(_RECORD, [list(organizations), moments, list(outcomes), list(counts.values())])
    except BaseException:
        _counts.update(counts)
        raise
    return len(counts)


def forget_counts() -> None:
    """Drop what this process counted, for tests."""
    _counts.clear()
