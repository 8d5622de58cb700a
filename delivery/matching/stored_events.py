"""Stored events as filters see them."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from django.db import connection

from core.postgresql.arrays import uuid_array
from delivery.matching.event_view import ATTRIBUTES, EventView
from ingestion.stored_data import COLUMNS, data_of

_READ = f"""
SELECT id, {", ".join(ATTRIBUTES)}, {COLUMNS} FROM ingestion_event AS event
WHERE id = ANY(%(ids)s::uuid[]) AND id >= %(first)s AND id <= %(last)s
"""  # noqa: S608 - the names are our own


def read_views(event_ids: Sequence[UUID]) -> Iterator[tuple[UUID, EventView]]:
    """Each of the events that are still there, in any order.

    They come row by row, and nothing else can be asked until the last: 256 KiB of numbers such as 1e308 are 13 MiB when
    PostgreSQL shows them, and there may be hundreds of such events.
    """
    if not event_ids:
        return
    values = {"ids": uuid_array(event_ids), "first": min(event_ids), "last": max(event_ids)}
    with connection.cursor() as cursor, connection.wrap_database_errors:
        for event_id, *seen, text, jsonb in cursor.cursor.stream(_READ, values):
            yield event_id, EventView(*(*seen, data_of(text, jsonb)))
