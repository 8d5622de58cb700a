"""The request that sends many events at once, and how large it may be."""

from __future__ import annotations

from collections.abc import Iterable

from events_client.calls import Call
from events_client.encoding import joined
from events_client.shapes import BatchOutcome

MAX_BATCH_EVENTS = 1000
# The platform takes 5 MiB.
MAX_BATCH_BYTES = 4 * 1024 * 1024


def batch_call(events: Iterable[bytes]) -> Call[BatchOutcome]:
    """Events which are JSON text, with an idempotency key each; all of them refused is an answer like others."""
    return Call(method="POST", path="/api/v1/events/batch", body=joined(events), answer=BatchOutcome, accepted=(422,))
