"""Counts of events by type and hour, and the catalogue of types.

What is beyond the bound of the catalogue is counted together, as one type that no event can have.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from core.postgresql.arrays import uuid_array
from organizations.models import Organization

# No event's type can have a star.
OTHER = "*other"
Key = tuple[UUID, str]

_NEW = """
SELECT given.organization_id, given.name FROM unnest(%s::uuid[], %s::text[]) AS given (organization_id, name)
WHERE NOT EXISTS (
    SELECT FROM ingestion_eventtype AS known
    WHERE known.organization_id = given.organization_id AND known.name = given.name
)
"""
_HOW_MANY = """
SELECT organization_id, count(*) FROM ingestion_eventtype WHERE organization_id = ANY(%s::uuid[]) GROUP BY 1
"""
# Rows in the order of their keys, so that two workers never lock crosswise.
_COUNT = """
WITH given AS (
    SELECT * FROM unnest(
        %s::uuid[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[], %s::bigint[]
    ) AS given (organization_id, type, hour, first_seen_at, last_seen_at, count)
), catalogued AS (
    INSERT INTO ingestion_eventtype AS known (organization_id, name, first_seen_at, last_seen_at, count)
    SELECT organization_id, type, min(first_seen_at), max(last_seen_at), sum(count)::bigint
    FROM given GROUP BY organization_id, type ORDER BY organization_id, type COLLATE "C"
    ON CONFLICT (organization_id, name) DO UPDATE
    SET count = known.count + excluded.count,
        first_seen_at = least(known.first_seen_at, excluded.first_seen_at),
        last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at)
)
INSERT INTO ingestion_hourlystat AS stat (organization_id, type, hour, count)
SELECT organization_id, type, hour, count FROM given ORDER BY organization_id, type COLLATE "C", hour
ON CONFLICT (organization_id, type, hour) DO UPDATE SET count = stat.count + excluded.count
"""
# Types that the catalogue had when this process looked, so that they need not be looked for again. One that was removed
# since comes back, whatever the bound: it is a soft one.
_MOST_KNOWN = 20_000
_known: set[Key] = set()


class SeenTogether(NamedTuple):
    """Events of one organization, type and hour."""

    organization_id: UUID
    type: str
    hour: datetime
    first: datetime
    last: datetime
    events: int


def types_to_fold(seen: Collection[Key]) -> set[Key]:
    """Those of organization and type that the catalogue has neither a row nor room for.

    A soft limit: two workers at once may each add a few more.
    """
    doubtful = set(seen) - _known
    if not doubtful:
        return set()
    new: defaultdict[UUID, list[str]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_NEW, [uuid_array(pk for pk, _ in doubtful), [name for _, name in doubtful]])
        for organization_id, name in cursor.fetchall():
            new[organization_id].append(name)
            doubtful.discard((organization_id, name))
        _remember(doubtful)
        if not new:
            return set()
        cursor.execute(_HOW_MANY, [uuid_array(new)])
        known: dict[UUID, int] = dict(cursor.fetchall())
    room = {
        row.pk: max(0, row.limits.event_types - known.get(row.pk, 0)) for row in Organization.objects.filter(pk__in=new)
    }
    return {(pk, name) for pk, names in new.items() for name in sorted(names)[room.get(pk, 0) :]}


def add_counts(rows: Sequence[SeenTogether]) -> None:
    """Add to the hourly counts and to the catalogue, by one statement."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [list(column) for column in zip(*rows, strict=True)])


def forget_types() -> None:
    """Drop what this process knows, for tests."""
    _known.clear()


def _remember(types: set[Key]) -> None:
    if len(_known) + len(types) > _MOST_KNOWN:
        _known.clear()
    _known.update(types)
