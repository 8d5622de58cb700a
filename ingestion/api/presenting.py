"""An event as the API shows it."""

from typing import Any

import msgspec

from core.times import format_time
from ingestion.models import Event


class Annotations(msgspec.Struct):
    """What an event carries beside its fields, each part as it is stored."""

    attributes: msgspec.Raw = msgspec.Raw(b"null")
    schema_errors: msgspec.Raw = msgspec.Raw(b"null")


def describe_event(event: Event) -> dict[str, Any]:
    """`{"id", "type", "source", "subject", "time", "data", "idempotency_key", "received_at"}`, and two that are
    mostly null: `attributes`, the CloudEvents attributes without a field here, and `schema_errors`, what the schema
    of its type found when it only warns.
    """
    annotations = msgspec.json.decode(event.annotations, type=Annotations) if event.annotations else Annotations()
    return {
        "id": str(event.id),
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": format_time(event.time) if event.time else None,
        "data": msgspec.Raw(event.data.encode()),
        "idempotency_key": event.idempotency_key,
        "received_at": format_time(event.received_at),
        "attributes": annotations.attributes,
        "schema_errors": annotations.schema_errors,
    }
