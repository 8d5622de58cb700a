"""Following events as they are committed: one stream, connected anew wherever it broke off."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx
import msgspec

from events_client.answers import problem_of, unreachable
from events_client.errors import NotReachableError, ProblemError
from events_client.retrying import RETRIED_STATUSES, Retrying
from events_client.shapes import Event

if TYPE_CHECKING:
    from events_client.client import AsyncClient, Client

logger = logging.getLogger("events_client")
PATH = "/api/v1/events/stream"
# The platform says something every 15 s.
_SILENCE_SECONDS = 45.0


class Following:
    """How far the events were followed, and what to do next. It makes no requests itself.

    A stream that ends goes on after its last event. Where none has come yet, it goes on from the moment at which it
    began, by the platform's clock: then events of that very second may come that were there before.
    """

    def __init__(self, query: Mapping[str, str | int], last_event_id: str | None, retry_seconds: float) -> None:
        self._query = dict(query)
        self._last_event_id = last_event_id
        self._retry_seconds = retry_seconds
        self._retrying = Retrying(retry_seconds)

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """For what comes next."""
        headers = {"Accept": "text/event-stream"}
        if self._last_event_id:
            headers["Last-Event-ID"] = self._last_event_id
        timeout = httpx.Timeout(**{**http.timeout.as_dict(), "read": _SILENCE_SECONDS})
        return http.build_request("GET", PATH, params=self._query or None, headers=headers, timeout=timeout)

    def begin(self, answer: httpx.Response) -> None:
        """It is connected: from now on there is all the time again for the next try."""
        self._retrying = Retrying(self._retry_seconds)
        if self._last_event_id is None:
            self._last_event_id = _first_id_of(answer.headers.get("date", ""))

    def read(self, line: str) -> Event | None:
        """The event that a line brings. Each has its data on one line, with its id."""
        name, _, value = line.partition(": ")
        if name != "data":
            return None
        event = msgspec.json.decode(value, type=Event)
        self._last_event_id = event.id
        return event

    def pause_after(self, error: NotReachableError | ProblemError | None) -> float:
        """How long to wait after the end of a stream; raises the error where no wait helps, or for too long."""
        if isinstance(error, ProblemError) and error.status not in RETRIED_STATUSES:
            raise error
        pause = self._retrying.pause(error.retry_after if isinstance(error, ProblemError) else None)
        if pause is None and error is not None:
            raise error
        if error is not None:
            logger.warning("the stream of events is cut off, trying on: %s", error)
        return pause or 0.0


def follow(client: Client, following: Following) -> Iterator[Event]:
    """The events, until the caller has enough."""
    while True:
        error: NotReachableError | ProblemError | None = None
        try:
            answer = client.http.send(following.request(client.http), stream=True)
            try:
                if not answer.is_success:
                    answer.read()
                    raise problem_of(answer)
                following.begin(answer)
                for line in answer.iter_lines():
                    if event := following.read(line):
                        yield event
            finally:
                answer.close()
        except httpx.TransportError as cause:
            error = unreachable(str(cause.request.url), cause)
        except ProblemError as problem:
            error = problem
        time.sleep(following.pause_after(error))


async def follow_async(client: AsyncClient, following: Following) -> AsyncIterator[Event]:
    """The same for asyncio."""
    while True:
        error: NotReachableError | ProblemError | None = None
        try:
            answer = await client.http.send(following.request(client.http), stream=True)
            try:
                if not answer.is_success:
                    await answer.aread()
                    raise problem_of(answer)
                following.begin(answer)
                async for line in answer.aiter_lines():
                    if event := following.read(line):
                        yield event
            finally:
                await answer.aclose()
        except httpx.TransportError as cause:
            error = unreachable(str(cause.request.url), cause)
        except ProblemError as problem:
            error = problem
        await asyncio.sleep(following.pause_after(error))


def _first_id_of(date: str) -> str | None:
    """The lowest id that an event of this second can have; None where the date cannot be read."""
    try:
        milliseconds = int(parsedate_to_datetime(date).timestamp() * 1000)
    except ValueError:
        return None
    return str(uuid.UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62)))
