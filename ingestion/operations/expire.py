"""Remove what has passed its time, in bounded batches."""

from django.db import connection

_REMOVE = """
WITH expired AS MATERIALIZED (
    SELECT organization_id, key FROM ingestion_idempotencykey WHERE expires_at <= now()
    ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED
)
DELETE FROM ingestion_idempotencykey AS stored USING expired
WHERE stored.organization_id = expired.organization_id AND stored.key = expired.key
"""


def remove_expired_idempotency_keys(*, batch: int = 5_000, batches: int = 20) -> int:
    """Delete at most `batch` × `batches` expired keys; returns how many."""
    removed = 0
    for _ in range(batches):
        with connection.cursor() as cursor:
            cursor.execute(_REMOVE, [batch])
            removed += cursor.rowcount
            if cursor.rowcount < batch:
                break
    return removed
