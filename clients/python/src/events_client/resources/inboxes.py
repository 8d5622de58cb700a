"""Taking events out of an inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from events_client import shapes
from events_client.calls import C, Call, Resource, body_of, endpoint, listing, query_of
from events_client.consuming import Consuming, RetryDelay, retry_delay

if TYPE_CHECKING:
    from events_client.client import AsyncClient, Client  # noqa: F401 - named in quotes


class Inbox(Resource[C]):
    """Taking events out of one inbox."""

    def __init__(self, client: C, name: str) -> None:
        super().__init__(client)
        self.name = name

    @listing
    def list(self, *, status: str | None = None, page_size: int = 100) -> Call[shapes.Page[shapes.InboxEvent]]:
        """The events of the inbox, newest first, without taking them; pending ones unless `status` says otherwise."""
        query = query_of(inbox=self.name, status=status, limit=page_size)
        return Call(method="GET", path="/api/v1/inbox", query=query, answer=shapes.Page[shapes.InboxEvent])

    @endpoint
    def lease(
        self,
        *,
        max: int = 100,  # noqa: A002 - the name of the member
        lease_seconds: int = 30,
        wait_seconds: int = 0,
    ) -> Call[shapes.Lease]:
        """Take up to `max` events for `lease_seconds`; `wait_seconds` (0–20) waits for the first one.

        When the answer is lost, so is the lease: the events come again when it has expired.
        """
        waiting = {"wait_seconds": wait_seconds} if wait_seconds else {}
        body = body_of(max=max, lease_seconds=lease_seconds, **waiting)
        return self._post("lease", body, shapes.Lease, seconds=wait_seconds)

    @endpoint
    def ack(self, event_ids: Sequence[str], lease_id: str | None = None) -> Call[shapes.AckOutcome]:
        """Acknowledge up to 1 000 events: they leave the inbox."""
        return self._post("ack", body_of(event_ids=event_ids, lease_id=lease_id), shapes.AckOutcome)

    @endpoint
    def nack(self, event_ids: Sequence[str], lease_id: str | None = None) -> Call[shapes.NackOutcome]:
        """Give up to 1 000 events back at once."""
        return self._post("nack", body_of(event_ids=event_ids, lease_id=lease_id), shapes.NackOutcome)

    @endpoint
    def extend(self, lease_id: str, lease_seconds: int = 30) -> Call[shapes.LeaseExtended]:
        """Hold what the lease still holds for `lease_seconds` from now on; a lease that holds nothing is a 404."""
        return self._post("extend", body_of(lease_id=lease_id, lease_seconds=lease_seconds), shapes.LeaseExtended)

    def _post(self, action: str, body: bytes, answer: type[Any], seconds: float = 0.0) -> Call[Any]:
        return Call(
            method="POST",
            path=f"/api/v1/inbox/{action}",
            query={"inbox": self.name},
            body=body,
            answer=answer,
            seconds=seconds,
        )


class SyncInbox(Inbox["Client"]):
    """An inbox, for programs with threads or without."""

    def consume(
        self,
        handler: Callable[[shapes.InboxEvent], object],
        concurrency: int = 1,
        *,
        lease_seconds: int = 30,
        retry_delay: RetryDelay = retry_delay,
        stop_seconds: float = 30.0,
        until_empty: bool = False,
    ) -> None:
        """Give each event to `handler`, in `concurrency` threads, until SIGTERM or SIGINT. See Consuming."""
        asyncio.run(
            self._consume(
                handler,
                concurrency=concurrency,
                lease_seconds=lease_seconds,
                retry_delay=retry_delay,
                stop_seconds=stop_seconds,
                until_empty=until_empty,
            )
        )

    async def _consume(self, handler: Callable[[shapes.InboxEvent], object], **options: Any) -> None:
        async with self._client.asynchronous() as client:
            await Consuming(AsyncInbox(client, self.name), handler, in_threads=True, **options).consume()


class AsyncInbox(Inbox["AsyncClient"]):
    """An inbox, for asyncio."""

    async def consume(
        self,
        handler: Callable[[shapes.InboxEvent], Awaitable[object]],
        concurrency: int = 1,
        *,
        lease_seconds: int = 30,
        retry_delay: RetryDelay = retry_delay,
        stop_seconds: float = 30.0,
        until_empty: bool = False,
    ) -> None:
        """Give each event to `handler`, a coroutine function, until SIGTERM, SIGINT or a cancellation. See Consuming.

        Up to `concurrency` events are handled at once.
        """
        await Consuming(
            self,
            handler,
            concurrency=concurrency,
            lease_seconds=lease_seconds,
            retry_delay=retry_delay,
            stop_seconds=stop_seconds,
            until_empty=until_empty,
        ).consume()
