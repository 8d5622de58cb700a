"""The two clients. What they send and how they judge the answers is the same code; only the waiting differs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from events_client.answers import problem_of, unreachable
from events_client.calls import Call, next_page
from events_client.errors import ConfigurationError, ProblemError
from events_client.resources.events import AsyncEvents, SyncEvents
from events_client.resources.inboxes import AsyncInbox, SyncInbox
from events_client.resources.others import Deliveries, EventTypes, Jobs, Organizations, PortalLinks, Replays
from events_client.resources.subscriptions import Subscriptions
from events_client.retrying import RETRIED_STATUSES, Retrying, retry_after_of
from events_client.shapes import Organization, Page
from events_client.version import VERSION

T = TypeVar("T")

_CONNECT_SECONDS = 5.0
# Before these the request has not left, so it can be made again whatever it does.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """Where a client sends, as whom, and how long it tries.

    `timeout` is for one answer, `retry_seconds` for all attempts of a request together.
    """

    base_url: str
    api_key: str
    timeout: float
    retry_seconds: float

    @classmethod
    def checked(
        cls, base_url: str | None, api_key: str | None, *, timeout: float, retry_seconds: float
    ) -> ClientSettings:
        """With `EVP_URL` and `EVP_API_KEY` for what is None; raises ConfigurationError."""
        url = (base_url or os.environ.get("EVP_URL") or "").strip().rstrip("/").removesuffix("/api/v1")
        key = (api_key or os.environ.get("EVP_API_KEY") or "").strip()
        if not url:
            raise ConfigurationError("there is no address of a platform: give base_url, or set EVP_URL")
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise ConfigurationError(f"{url!r} is no address of a platform: it begins with https:// or http://")
        if not key:
            raise ConfigurationError("there is no API key: give api_key, or set EVP_API_KEY")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigurationError("the API key has characters that no key has: copy it anew")
        return cls(base_url=url, api_key=key, timeout=timeout, retry_seconds=retry_seconds)

    def of_httpx(self) -> dict[str, Any]:
        """What both of httpx's clients are made with."""
        return {
            "base_url": self.base_url,
            "headers": {"Authorization": f"Bearer {self.api_key}", "User-Agent": f"events-platform-client/{VERSION}"},
            "timeout": httpx.Timeout(self.timeout, connect=_CONNECT_SECONDS),
        }


class Client:
    """A client whose methods wait. It may be shared by threads, and is made anew by itself in a forked process.

    `timeout` is in seconds for one answer; `retry_seconds` is how long a request is tried in all, when the platform
    is busy, restarts or cannot be reached. Close it, or use it as a context manager.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retry_seconds: float = 60.0,
    ) -> None:
        self.settings = ClientSettings.checked(base_url, api_key, timeout=timeout, retry_seconds=retry_seconds)
        self.events = SyncEvents(self)
        self.subscriptions: Subscriptions[Client] = Subscriptions(self)
        self.deliveries: Deliveries[Client] = Deliveries(self)
        self.event_types: EventTypes[Client] = EventTypes(self)
        self.replays: Replays[Client] = Replays(self)
        self.jobs: Jobs[Client] = Jobs(self)
        self.portal_links: PortalLinks[Client] = PortalLinks(self)
        self._connect()

    def inbox(self, name: str = "default") -> SyncInbox:
        """The inbox of this name."""
        return SyncInbox(self, name)

    def organization(self) -> Organization:
        """The organization of the API key."""
        return Organizations(self).get()

    def asynchronous(self) -> AsyncClient:
        """A client for asyncio with the same settings, to be closed on its own."""
        return AsyncClient(**asdict(self.settings))

    def call(self, call: Call[T], *, retry_seconds: float | None = None) -> T:
        """Make a request, again where that helps, and return its answer; raises ProblemError or NotReachableError."""
        retrying = Retrying(self.settings.retry_seconds if retry_seconds is None else retry_seconds)
        while True:
            try:
                answer = self.http.send(_request(self.http, call))
            except httpx.TransportError as error:
                time.sleep(_pause_after_error(call, error, retrying))
                continue
            pause = _pause_after_answer(answer, retrying)
            if pause is None:
                return _read(call, answer)
            time.sleep(pause)

    def items(self, call: Call[Page[T]]) -> Iterator[T]:
        """All items of a list, page by page."""
        following: Call[Page[T]] | None = call
        while following:
            page = self.call(following)
            yield from page.data
            following = next_page(following, page)

    @property
    def http(self) -> httpx.Client:
        """The connections, which a forked process must not share with its parent."""
        if self._process != os.getpid():
            self._connect()
        return self._http

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _connect(self) -> None:
        self._process = os.getpid()
        self._http = httpx.Client(**self.settings.of_httpx())

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """The same for asyncio: what returns an answer there returns an awaitable here, and lists are async iterators."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retry_seconds: float = 60.0,
    ) -> None:
        self.settings = ClientSettings.checked(base_url, api_key, timeout=timeout, retry_seconds=retry_seconds)
        self.http = httpx.AsyncClient(**self.settings.of_httpx())
        self.events = AsyncEvents(self)
        self.subscriptions: Subscriptions[AsyncClient] = Subscriptions(self)
        self.deliveries: Deliveries[AsyncClient] = Deliveries(self)
        self.event_types: EventTypes[AsyncClient] = EventTypes(self)
        self.replays: Replays[AsyncClient] = Replays(self)
        self.jobs: Jobs[AsyncClient] = Jobs(self)
        self.portal_links: PortalLinks[AsyncClient] = PortalLinks(self)

    def inbox(self, name: str = "default") -> AsyncInbox:
        """The inbox of this name."""
        return AsyncInbox(self, name)

    async def organization(self) -> Organization:
        """The organization of the API key."""
        return await Organizations(self).get()

    def synchronous(self) -> Client:
        """A client whose methods wait, with the same settings, to be closed on its own."""
        return Client(**asdict(self.settings))

    async def call(self, call: Call[T], *, retry_seconds: float | None = None) -> T:
        """Make a request, again where that helps, and return its answer; raises ProblemError or NotReachableError."""
        retrying = Retrying(self.settings.retry_seconds if retry_seconds is None else retry_seconds)
        while True:
            try:
                answer = await self.http.send(_request(self.http, call))
            except httpx.TransportError as error:
                await asyncio.sleep(_pause_after_error(call, error, retrying))
                continue
            pause = _pause_after_answer(answer, retrying)
            if pause is None:
                return _read(call, answer)
            await asyncio.sleep(pause)

    async def items(self, call: Call[Page[T]]) -> AsyncIterator[T]:
        """All items of a list, page by page."""
        following: Call[Page[T]] | None = call
        while following:
            page = await self.call(following)
            for item in page.data:
                yield item
            following = next_page(following, page)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _request(http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    timeout = http.timeout
    if call.seconds:
        timeout = httpx.Timeout(**{**timeout.as_dict(), "read": (timeout.read or 0.0) + call.seconds})
    return http.build_request(
        call.method,
        call.path,
        params=dict(call.query) or None,
        content=call.body,
        headers={"Content-Type": "application/json"} if call.body is not None else None,
        timeout=timeout,
    )


def _pause_after_error(call: Call[Any], error: httpx.TransportError, retrying: Retrying) -> float:
    """How long to wait before the next attempt; raises NotReachableError when there is none."""
    hopeless = "CERTIFICATE_VERIFY_FAILED" in str(error)
    pause = None
    if not hopeless and (call.repeatable or isinstance(error, _NOT_SENT)):
        pause = retrying.pause()
    if pause is None:
        raise unreachable(str(error.request.url), error) from error
    return pause


def _pause_after_answer(answer: httpx.Response, retrying: Retrying) -> float | None:
    """How long to wait before the next attempt; None when this answer is to be taken."""
    if answer.status_code not in RETRIED_STATUSES:
        return None
    return retrying.pause(retry_after_of(answer.headers))


def _read(call: Call[T], answer: httpx.Response) -> T:
    if not answer.is_success and (answer.status_code not in call.accepted or _is_problem(answer)):
        raise problem_of(answer)
    if answer.status_code == 204:
        return msgspec.convert(None, call.answer)
    try:
        return msgspec.json.decode(answer.content, type=call.answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(
            status=answer.status_code,
            code="unexpected_answer",
            detail=f"{answer.url} answered something else than the platform does ({error}). Is the address right?",
            request_id=answer.headers.get("request-id"),
        ) from error


def _is_problem(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("content-type", "").startswith("application/problem+json"))
