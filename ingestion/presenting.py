"""An event as the API shows it."""

from typing import Any

import msgspec

from ingestion.models import Event
from rest.rendering import format_time


def describe_event(event: Event) -> dict[str, Any]:
    """`{"id", "type", "source", "subject", "time", "data", "idempotency_key", "received_at"}`."""
    return {
        "id": str(event.id),
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": format_time(event.time) if event.time else None,
        "data": msgspec.Raw(event.data.encode()),
        "idempotency_key": event.idempotency_key,
        "received_at": format_time(event.received_at),
    }
