"""The catalogue of event types. What is beyond its bound is counted together, as one type that no event can have."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
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
_ADD = """
INSERT INTO ingestion_eventtype AS known (organization_id, name, first_seen_at, last_seen_at, count)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::bigint[])
ON CONFLICT (organization_id, name) DO UPDATE
SET count = known.count + excluded.count,
    first_seen_at = least(known.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at)
"""


def types_to_fold(seen: Collection[Key]) -> set[Key]:
    """Those of organization and type that the catalogue has neither a row nor room for.

    A soft limit: two workers at once may each add a few more.
    """
    new: defaultdict[UUID, list[str]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_NEW, [uuid_array(pk for pk, _ in seen), [name for _, name in seen]])
        for organization_id, name in cursor.fetchall():
            new[organization_id].append(name)
        if not new:
            return set()
        cursor.execute(_HOW_MANY, [uuid_array(new)])
        known: dict[UUID, int] = dict(cursor.fetchall())
    room = {
        row.pk: max(0, row.limits.event_types - known.get(row.pk, 0)) for row in Organization.objects.filter(pk__in=new)
    }
    return {(pk, name) for pk, names in new.items() for name in sorted(names)[room.get(pk, 0) :]}


def add_to_catalogue(rows: Sequence[tuple[UUID, str, datetime, datetime, int]]) -> None:
    """`rows`: organization, type, first and last seen, count; sorted, so that two workers never lock crosswise."""
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [list(column) for column in zip(*rows, strict=True)])
