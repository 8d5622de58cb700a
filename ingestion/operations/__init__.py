"""What can be done with events and their types."""

from ingestion.operations.event_types import (
    create_event_type,
    delete_event_type,
    shown_event_types,
    update_event_type,
)
from ingestion.operations.expire import remove_expired_idempotency_keys
from ingestion.operations.process import process_outbox, retry_failed
from ingestion.operations.roll_up import roll_up_intake_counts
from ingestion.operations.scheduling import cancel_event, hand_on_due
from ingestion.operations.sending import send_event

__all__ = [
    "cancel_event",
    "create_event_type",
    "delete_event_type",
    "hand_on_due",
    "process_outbox",
    "remove_expired_idempotency_keys",
    "retry_failed",
    "roll_up_intake_counts",
    "send_event",
    "shown_event_types",
    "update_event_type",
]
