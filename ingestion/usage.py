"""How much an organization uses the platform: events from the hourly stats, and what it has of types."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from ingestion.models import hour_of

_USAGE = """
SELECT coalesce(sum(count) FILTER (WHERE hour > %(day)s), 0)::bigint AS events_last_24_hours,
    coalesce(sum(count), 0)::bigint AS events_last_30_days,
    (SELECT count(*) FROM ingestion_eventtype WHERE organization_id = %(organization)s) AS event_types,
    (SELECT count(*) FROM ingestion_eventtype WHERE organization_id = %(organization)s AND validation <> 'off')
        AS schemas_in_force
FROM ingestion_hourlystat WHERE organization_id = %(organization)s AND hour > %(month)s
"""


def usage_of(organization_id: UUID, *, now: datetime) -> dict[str, int]:
    """Processed events of the last 24 hours and 30 days, by whole hours (UTC); event types and schemas in force."""
    hour = hour_of(now)
    values = {"organization": organization_id, "day": hour - timedelta(hours=24), "month": hour - timedelta(days=30)}
    with connection.cursor() as cursor:
        cursor.execute(_USAGE, values)
        return dict(zip((column.name for column in cursor.description), cursor.fetchone(), strict=True))
