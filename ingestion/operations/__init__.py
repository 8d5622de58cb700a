"""What can be done with events."""

from ingestion.operations.accept import Accepted, accept_event
from ingestion.operations.expire import remove_expired_idempotency_keys
from ingestion.operations.process import process_outbox, retry_failed

__all__ = ["Accepted", "accept_event", "process_outbox", "remove_expired_idempotency_keys", "retry_failed"]
