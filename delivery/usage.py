"""How much of its limits an organization uses: subscriptions and replays. By one statement, as pages ask for it."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

_USAGE = """
SELECT count(*) AS subscriptions,
    coalesce(sum(octet_length(event_types::text) + coalesce(octet_length(filter::text), 0)), 0)::bigint AS filter_bytes,
    (SELECT count(*) FROM delivery_replay WHERE organization_id = %(organization)s AND status = 'running')
        AS replays_running,
    (SELECT count(*) FROM delivery_replay WHERE organization_id = %(organization)s AND created_at > %(day)s)
        AS replays_per_day
FROM delivery_subscription WHERE organization_id = %(organization)s AND status <> 'deleted'
"""


def usage_of(organization_id: UUID, *, now: datetime) -> dict[str, int]:
    """By the names of the limits; `filter_bytes` are what processing keeps in memory."""
    with connection.cursor() as cursor:
        cursor.execute(_USAGE, {"organization": organization_id, "day": now - timedelta(days=1)})
        return dict(zip((column.name for column in cursor.description), cursor.fetchone(), strict=True))
