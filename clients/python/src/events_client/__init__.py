"""The client of the Events Platform: send events, receive webhooks, consume inboxes.

`Client` waits, `AsyncClient` is for asyncio; both have the same methods. `EventsClientError` is the base of all errors.
"""

from msgspec import Raw

from events_client.buffering import AsyncBuffer, Buffer
from events_client.client import AsyncClient, Client
from events_client.encoding import encode_event
from events_client.errors import (
    BufferFullError,
    BufferStoppedError,
    ConfigurationError,
    EventsClientError,
    EventsRefusedError,
    FieldError,
    InvalidEventError,
    NotReachableError,
    ProblemError,
    WebhookVerificationError,
)
from events_client.shapes import Event, EventAccepted, InboxEvent, RefusedEvent
from events_client.version import VERSION
from events_client.webhooks import verify_webhook

__version__ = VERSION

__all__ = [
    "AsyncBuffer",
    "AsyncClient",
    "Buffer",
    "BufferFullError",
    "BufferStoppedError",
    "Client",
    "ConfigurationError",
    "Event",
    "EventAccepted",
    "EventsClientError",
    "EventsRefusedError",
    "FieldError",
    "InboxEvent",
    "InvalidEventError",
    "NotReachableError",
    "ProblemError",
    "Raw",
    "RefusedEvent",
    "WebhookVerificationError",
    "__version__",
    "encode_event",
    "verify_webhook",
]
