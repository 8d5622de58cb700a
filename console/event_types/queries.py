"""The trend of event types, from the hourly counts: events themselves are not read."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from console.drawing.sparklines import Sparkline, sparkline
from ingestion.models import EventType, hour_of
from ingestion.operations import shown_event_types

DAYS = 7
_BARS = 28
_EACH = timedelta(days=DAYS) / _BARS
# What a field for a type suggests.
_SUGGESTED = 50

# At most 50 types of 168 hours each, by the unique index.
_HOURS = """
SELECT type, date_bin(%(each)s, hour, %(start)s) AS bar, sum(count)::bigint
FROM ingestion_hourlystat
WHERE organization_id = %(organization)s AND type = ANY(%(types)s) AND hour >= %(start)s
GROUP BY 1, 2
"""


def seen_type_names(organization_id: UUID) -> list[str]:
    """Types of events that have come, to be suggested."""
    seen = EventType.objects.for_organization(organization_id).filter(first_seen_at__isnull=False)
    return list(seen.order_by("name").values_list("name", flat=True)[:_SUGGESTED])


def known_type_names(organization_id: UUID) -> list[str]:
    """The same, with those that were only described."""
    return list(shown_event_types(organization_id).order_by("name").values_list("name", flat=True)[:_SUGGESTED])


def trends_of(organization_id: UUID, types: Sequence[str], *, now: datetime) -> dict[str, Sparkline]:
    """By type, a bar for six hours of the last seven days."""
    counts = {name: [0] * _BARS for name in types}
    if not types:
        return {}
    start = hour_of(now) - timedelta(hours=DAYS * 24 - 1)
    values: dict[str, Any] = {"start": start, "each": _EACH, "organization": organization_id}
    values["types"] = list(types)
    with connection.cursor() as cursor:
        cursor.execute(_HOURS, values)
        for name, begin, count in cursor:
            if (bar := (begin - start) // _EACH) < _BARS:
                counts[name][bar] = count
    return {
        name: sparkline([(count, 0) for count in columns], f"{sum(columns)} events in the last {DAYS} days")
        for name, columns in counts.items()
    }
