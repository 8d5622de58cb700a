"""An event as the API shows it."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from core.registry import Registry
from core.times import format_time
from ingestion.fields import CONTENT
from ingestion.models import Event


class Annotations(msgspec.Struct):
    """What an event carries beside its fields, each part as it is stored."""

    attributes: msgspec.Raw = msgspec.Raw(b"null")
    schema_errors: msgspec.Raw = msgspec.Raw(b"null")


def describe_event(event: Event) -> dict[str, Any]:
    """`{"id", …, "data", "idempotency_key", "received_at"}`, with the CONTENT between, and two that are mostly null:
    `attributes`, the CloudEvents attributes without a field here, and `schema_errors`, what the schema of its type
    found when it only warns.
    """
    annotations = msgspec.json.decode(event.annotations, type=Annotations) if event.annotations else Annotations()
    return {
        "id": str(event.id),
        **{field.name: field.show(event) for field in CONTENT},
        "data": msgspec.Raw(event.data.encode()),
        "idempotency_key": event.idempotency_key,
        "received_at": format_time(event.received_at),
        "attributes": annotations.attributes,
        "schema_errors": annotations.schema_errors,
    }


def describe_with_status(event: Event) -> dict[str, Any]:
    """describe_event() of an event of a query with_status(), with what that adds."""
    return {
        **describe_event(event),
        "status": event.status,
        "deliver_at": format_time(event.deliver_at) if event.deliver_at else None,
    }


# Each adds members to events that are listed: one dictionary for each, in their order.
listed_members: Registry[Callable[[Sequence[Event]], Sequence[dict[str, Any]]]] = Registry()


def describe_listed(events: Sequence[Event]) -> list[dict[str, Any]]:
    """As lists and the feed show them: with their status, which the query must have brought along."""
    shown = [describe_with_status(event) for event in events]
    for members_of in listed_members:
        for each, members in zip(shown, members_of(events), strict=True):
            each.update(members)
    return shown
