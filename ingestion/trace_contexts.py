"""The trace contexts that events are stored with: the span of their intake, or else what their client sent."""

from collections.abc import Collection
from uuid import UUID

from django.db import connection

from core.postgresql.arrays import uuid_array
from core.tracing import TraceContext, read_context

# OpenTelemetry's own limit of links.
MAX_CONTEXTS = 128

# `traceparent` and `tracestate` of an `event`, valid or not.
COLUMNS = """
    coalesce(event.annotations ->> 'traceparent', event.annotations -> 'headers' ->> 'traceparent'),
    event.annotations -> 'headers' ->> 'tracestate'
"""
_CONTEXTS = f"""
SELECT DISTINCT {COLUMNS} FROM ingestion_event AS event
WHERE id = ANY(%(ids)s::uuid[]) AND id >= %(first)s AND id <= %(last)s AND annotations IS NOT NULL
"""  # noqa: S608 - no input


def contexts_of(ids: Collection[UUID]) -> list[TraceContext]:
    """The different ones of the first MAX_CONTEXTS of these events, of which there is one at least."""
    first = sorted(ids)[:MAX_CONTEXTS]
    with connection.cursor() as cursor:
        cursor.execute(_CONTEXTS, {"ids": uuid_array(first), "first": first[0], "last": first[-1]})
        contexts = [read_context(*row) for row in cursor.fetchall()]
    return [context for context in contexts if context]
