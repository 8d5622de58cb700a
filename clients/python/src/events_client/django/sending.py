"""Sending events once their transaction is committed."""

from __future__ import annotations

import logging
from functools import cache, partial
from typing import Any

from django.core.signals import setting_changed
from django.db import transaction

from events_client.batches import batch_call
from events_client.buffering import Buffer
from events_client.client import Client
from events_client.django.conf import configured
from events_client.encoding import encode_event
from events_client.errors import EventsClientError
from events_client.shapes import RefusedEvent

logger = logging.getLogger("events_client")


def send_on_commit(type: str, data: object, *, using: str | None = None, **members: Any) -> None:  # noqa: A002 - the name of the member
    """Send an event when the transaction of the database `using` is committed; at once outside of one.

    The event is written as JSON now: what `data` becomes later is not sent, and what has no JSON is an error here.
    `members` are those of `events.send()`. Nothing is sent when the transaction is rolled back. The request waits for
    the platform, for up to RETRY_SECONDS (5) while it is away, unless BUFFERED is set. What then could not be sent is
    logged as an error, for the transaction is committed: what must not be missed even if this process dies belongs in
    a table of your own, written in the same transaction.
    """
    event = encode_event(type, data, **members)
    transaction.on_commit(partial(_send, event), using=using)


def _send(event: bytes) -> None:
    try:
        if configured("BUFFERED", default=False):
            _buffer().put(event)
            return
        outcome = _client().call(batch_call([event]))
    except EventsClientError:
        logger.exception("an event of a committed transaction was not sent: %s", event[:200].decode(errors="replace"))
        return
    for result in outcome.results:
        if result.error is not None:
            _log_refused(RefusedEvent(event=event, problem=result.error))


def _log_refused(refused: RefusedEvent) -> None:
    text = refused.event[:200].decode(errors="replace")
    logger.error("an event of a committed transaction was refused with %s: %s", refused.problem, text)


@cache
def _client() -> Client:
    return Client(configured("URL"), configured("API_KEY"), retry_seconds=configured("RETRY_SECONDS", default=5.0))


@cache
def _buffer() -> Buffer:
    return _client().events.buffer(on_refused=_log_refused)


def _begin_anew(*, setting: str, **_: Any) -> None:
    if setting == "EVENTS_CLIENT":
        _buffer.cache_clear()
        _client.cache_clear()


setting_changed.connect(_begin_anew)
