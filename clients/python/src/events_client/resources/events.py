"""Sending events, and looking at them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from events_client import shapes
from events_client.batches import batch_call
from events_client.buffering import AsyncBuffer, Buffer, WhenFull
from events_client.calls import C, Call, Resource, endpoint, listing, part, query_of
from events_client.encoding import encode_event
from events_client.following import Following, follow, follow_async

if TYPE_CHECKING:
    from events_client.client import AsyncClient, Client  # noqa: F401 - named in quotes


class Events(Resource[C]):
    """Sending events, and looking at them."""

    @endpoint
    def send(
        self,
        type: str,  # noqa: A002 - the name of the member
        data: object,
        *,
        source: str | None = None,
        subject: str | None = None,
        time: datetime | str | None = None,
        idempotency_key: str | None = None,
        deliver_at: datetime | str | None = None,
    ) -> Call[shapes.EventAccepted]:
        """Send one event; it is committed when this returns.

        `data` is whatever JSON can say, or JSON text as `Raw(b'…')`, which goes out byte by byte. Without an
        idempotency key of your own the event gets a random one: attempts of this call never make a second event.
        """
        body = encode_event(
            type,
            data,
            source=source,
            subject=subject,
            time=time,
            idempotency_key=idempotency_key,
            deliver_at=deliver_at,
        )
        return Call(method="POST", path="/api/v1/events", body=body, answer=shapes.EventAccepted)

    @endpoint
    def send_batch(self, events: Iterable[bytes]) -> Call[shapes.BatchOutcome]:
        """Send up to 1 000 events at once, each made by `encode_event()`; some may be refused, see `results`."""
        return batch_call(events)

    @listing
    def list(
        self,
        *,
        type: str | None = None,  # noqa: A002 - the name of the parameter
        source: str | None = None,
        subject: str | None = None,
        received_after: datetime | str | None = None,
        received_before: datetime | str | None = None,
        status: str | None = None,
        page_size: int = 100,
    ) -> Call[shapes.Page[shapes.Event]]:
        """Events, newest first; `type` may end with `*`."""
        query = query_of(
            type=type,
            source=source,
            subject=subject,
            received_after=received_after,
            received_before=received_before,
            status=status,
            limit=page_size,
        )
        return Call(method="GET", path="/api/v1/events", query=query, answer=shapes.Page[shapes.Event])

    @endpoint
    def get(self, event_id: str) -> Call[shapes.EventDetails]:
        """One event with its deliveries and their attempts."""
        return Call(method="GET", path=f"/api/v1/events/{part(event_id)}", answer=shapes.EventDetails)

    @endpoint
    def cancel(self, event_id: str) -> Call[shapes.EventCancelled]:
        """Take back an event that is `scheduled`; what was handed on is a 409 `wrong_state`."""
        path = f"/api/v1/events/{part(event_id)}/cancel"
        return Call(method="POST", path=path, answer=shapes.EventCancelled)


class SyncEvents(Events["Client"]):
    """Events, for programs with threads or without."""

    def buffer(
        self,
        max_events: int = 500,
        max_seconds: float = 0.05,
        *,
        max_pending: int = 20_000,
        when_full: WhenFull = "block",
        close_seconds: float = 30.0,
        on_refused: Callable[[shapes.RefusedEvent], object] | None = None,
    ) -> Buffer:
        """A buffer whose `send()` returns at once; batches go out in the background. See Buffer."""
        return Buffer(
            self._client,
            max_events=max_events,
            max_seconds=max_seconds,
            max_pending=max_pending,
            when_full=when_full,
            close_seconds=close_seconds,
            on_refused=on_refused,
        )

    def stream(
        self,
        *,
        type: str | None = None,  # noqa: A002 - the name of the parameter
        source: str | None = None,
        subject: str | None = None,
        last_event_id: str | None = None,
    ) -> Iterator[shapes.Event]:
        """Events as they are committed, in that order, without end. `type` may end with `*`.

        It begins now, or after the event `last_event_id`, up to an hour back. A connection that breaks is made anew
        and nothing is missed; when that fails for `retry_seconds`, it raises NotReachableError or ProblemError.
        """
        query = query_of(type=type, source=source, subject=subject)
        return follow(self._client, Following(query, last_event_id, self._client.settings.retry_seconds))


class AsyncEvents(Events["AsyncClient"]):
    """Events, for asyncio."""

    def buffer(
        self,
        max_events: int = 500,
        max_seconds: float = 0.05,
        *,
        max_pending: int = 20_000,
        when_full: WhenFull = "block",
        close_seconds: float = 30.0,
        on_refused: Callable[[shapes.RefusedEvent], object] | None = None,
    ) -> AsyncBuffer:
        """A buffer whose `await send()` waits only while it is full; batches go out in the background. See Buffer."""
        return AsyncBuffer(
            self._client.synchronous(),
            max_events=max_events,
            max_seconds=max_seconds,
            max_pending=max_pending,
            when_full=when_full,
            close_seconds=close_seconds,
            on_refused=on_refused,
        )

    def stream(
        self,
        *,
        type: str | None = None,  # noqa: A002 - the name of the parameter
        source: str | None = None,
        subject: str | None = None,
        last_event_id: str | None = None,
    ) -> AsyncIterator[shapes.Event]:
        """Events as they are committed, in that order, without end. `type` may end with `*`.

        It begins now, or after the event `last_event_id`, up to an hour back. A connection that breaks is made anew
        and nothing is missed; when that fails for `retry_seconds`, it raises NotReachableError or ProblemError.
        """
        query = query_of(type=type, source=source, subject=subject)
        return follow_async(self._client, Following(query, last_event_id, self._client.settings.retry_seconds))
