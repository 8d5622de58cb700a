"""Store an event and its outbox entry in one statement, and its idempotency key with them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DataError, connection
from django.utils import timezone
from uuid_utils.compat import uuid7

from ingestion.decoding import DecodedEvent
from ingestion.models import Event, IdempotencyKey
from ingestion.wakeup import wake_processing
from rest.problems import Problem, invalid

# A claimed key whose first claim expires at this very moment is tried again; more than once is a fault.
_TRIES = 3

_STORE = """
WITH claimed AS (
    INSERT INTO ingestion_idempotencykey AS held (organization_id, key, event_id, fingerprint, expires_at)
    SELECT %(organization)s, %(key)s, %(id)s, %(fingerprint)s, %(expires_at)s
    WHERE %(key)s::text IS NOT NULL
    ON CONFLICT (organization_id, key) DO UPDATE
    SET event_id = excluded.event_id, fingerprint = excluded.fingerprint, expires_at = excluded.expires_at
    WHERE held.expires_at <= %(received_at)s
    RETURNING event_id
), stored AS (
    INSERT INTO ingestion_event
        (id, organization_id, type, source, subject, time, data, idempotency_key, received_at, batch_id)
    SELECT %(id)s, %(organization)s, %(type)s, %(source)s, %(subject)s, %(time)s, %(data)s::jsonb, %(key)s,
           %(received_at)s, %(batch)s
    WHERE %(key)s::text IS NULL OR EXISTS (SELECT FROM claimed)
    RETURNING id
), queued AS (
    INSERT INTO ingestion_outboxentry (id, event_ids, created_at)
    SELECT %(batch)s, ARRAY[id], %(received_at)s FROM stored
)
SELECT count(*) FROM stored
"""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A committed event: a new one, or the earlier one with the same idempotency key."""

    id: UUID
    type: str
    received_at: datetime
    duplicate: bool


def accept_event(*, organization_id: UUID, event: DecodedEvent) -> Accepted:
    """Commit the event, then wake the processing. Raises Problem 409 for a reused key, 422 for unstorable data."""
    for _ in range(_TRIES):
        received_at = timezone.now()
        event_id = uuid7()
        if _store(organization_id, event, event_id, received_at):
            wake_processing()
            return Accepted(id=event_id, type=event.type, received_at=received_at, duplicate=False)
        if earlier := _earlier(organization_id, event):
            return earlier
    raise Problem("service_unavailable", headers={"Retry-After": "1"})


def _store(organization_id: UUID, event: DecodedEvent, event_id: UUID, received_at: datetime) -> bool:
    """Was the event stored? Not when its idempotency key is held. Commits, as it runs outside of a transaction."""
    values: dict[str, Any] = {
        "id": event_id,
        "organization": organization_id,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
        "data": event.data,
        "key": event.idempotency_key,
        "fingerprint": event.fingerprint,
        "received_at": received_at,
        "expires_at": received_at + timedelta(hours=settings.IDEMPOTENCY_HOURS),
        "batch": uuid7(),
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute(_STORE, values)
            return bool(cursor.fetchone()[0])
    except DataError as error:
        raise invalid("/data", "unstorable", "PostgreSQL cannot store this data as jsonb.") from error


def _earlier(organization_id: UUID, event: DecodedEvent) -> Accepted | None:
    """The event that holds the key; None when the claim has just gone."""
    held = IdempotencyKey.objects.filter(organization_id=organization_id, key=event.idempotency_key).first()
    if held is None:
        return None
    if bytes(held.fingerprint) != event.fingerprint:
        raise Problem("idempotency_key_reused")
    stored = Event.objects.for_organization(organization_id).filter(pk=held.event_id).only("received_at").first()
    received_at = stored.received_at if stored else timezone.now()
    return Accepted(id=held.event_id, type=event.type, received_at=received_at, duplicate=True)
