"""Sends webhooks: one POST, no redirects, no proxies, bounded time and answer, to vetted addresses only."""

import asyncio
import functools
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Self

import aiohttp
from django.conf import settings
from yarl import URL

from delivery.attempt_errors import AttemptError
from delivery.webhooks.answers import (
    MAX_LINE_BYTES,
    MAX_RESPONSE_BYTES,
    MAX_RESPONSE_HEADERS,
    BoundedConnector,
    bound_tls,
    tls_context,
)
from delivery.webhooks.failures import error_of, sentence_of
from delivery.webhooks.guard import GuardedResolver, NetworkPolicy, check_url, guarded_socket
from delivery.webhooks.retry_schedule import parse_retry_after
from delivery.webhooks.webhook_requests import WebhookRequest

MAX_DETAIL = 300
MAX_CONCURRENT = 1000
# Many servers close idle connections after 5 s (Node.js, Apache); a request on a closing connection is lost.
KEEPALIVE_SECONDS = 4.0
DEFAULT_HEADERS = {"User-Agent": "events-platform-webhooks/1", "Accept": "*/*", "Accept-Encoding": "identity"}

# The check of a URL resolves nothing, so its outcome stays true; it is 17 of the 150 µs that a send takes.
_checked = functools.lru_cache(maxsize=1024)(check_url)


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptResult:
    """What came of one attempt: delivered if `error` is None, that is after a 2xx that was read to its end or bound.

    `status` is None when no answer came. `detail` is a sentence for people, at most MAX_DETAIL characters.
    `response_text` is the begin of the answer, safe for PostgreSQL, cut at MAX_RESPONSE_BYTES of the answer.
    """

    error: AttemptError | None
    status: int | None
    detail: str
    duration_ms: int
    response_text: str
    response_truncated: bool
    retry_after: timedelta | None
    remote_address: str | None

    @property
    def delivered(self) -> bool:
        return self.error is None

    @property
    def gone(self) -> bool:
        """The endpoint says that it will never take anything again."""
        return self.status == 410


@dataclass(kw_only=True)
class _Progress:
    """What is known of an attempt at any moment, so that one that breaks off still tells how far it came."""

    started: float = field(default_factory=time.perf_counter)
    on_used_connection: bool = False
    status: int | None = None
    retry_after: timedelta | None = None
    remote_address: str | None = None
    body: bytearray = field(default_factory=bytearray)
    truncated: bool = False

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def result(self, error: AttemptError | None, detail: str) -> AttemptResult:
        return AttemptResult(
            error=error,
            status=self.status,
            detail=_storable(detail)[:MAX_DETAIL],
            duration_ms=round(self.elapsed() * 1000),
            response_text=_storable(self.body.decode("utf-8", "replace")),
            response_truncated=self.truncated,
            retry_after=self.retry_after,
            remote_address=self.remote_address,
        )


def _storable(text: str) -> str:
    """PostgreSQL stores no NUL."""
    return text.replace("\0", "")


class _Response(aiohttp.ClientResponse):
    """Remembers the peer: a short answer has given its connection back before anyone can ask for it."""

    peer: str | None = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        if (transport := connection.transport) is not None and (name := transport.get_extra_info("peername")):
            self.peer = str(name[0])
        return await super().start(connection)


class WebhookSender:
    """Sends from one event loop, up to `max_concurrent` at once; an async context manager.

    The time that a request waits for its turn does not count as the endpoint's. `ssl_context` and `resolver` replace
    the system's certificates and name service.
    """

    def __init__(
        self,
        *,
        policy: NetworkPolicy,
        timeout_seconds: float = 15.0,
        max_concurrent: int = MAX_CONCURRENT,
        ssl_context: ssl.SSLContext | None = None,
        resolver: GuardedResolver | None = None,
    ) -> None:
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(max_concurrent)
        self._ssl_context = bound_tls(ssl_context) if ssl_context else tls_context("")
        self._resolver = resolver

    @classmethod
    def from_settings(cls) -> Self:
        return cls(
            policy=NetworkPolicy.from_settings(),
            timeout_seconds=settings.WEBHOOK_TIMEOUT_SECONDS,
            ssl_context=tls_context(settings.WEBHOOK_CA_FILE),
        )

    async def __aenter__(self) -> Self:
        self._resolver = self._resolver or GuardedResolver(self._policy)
        connector = BoundedConnector(
            resolver=self._resolver,
            socket_factory=functools.partial(guarded_socket, self._policy),
            ssl=self._ssl_context,
            limit=0,  # `_slots` limits: in the connector's own queue the timeout would run already
            keepalive_timeout=KEEPALIVE_SECONDS,
        )
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(_note_used_connection)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=DEFAULT_HEADERS,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            raise_for_status=False,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_RESPONSE_HEADERS,
            read_bufsize=MAX_RESPONSE_BYTES,
            response_class=_Response,
            trace_configs=[tracing],
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        if self._resolver is not None:
            await self._resolver.close()

    async def send(self, request: WebhookRequest) -> AttemptResult:
        """One attempt. Whatever the endpoint or the network does becomes a result, never an exception.

        After the sender was closed it raises, so that an attempt that was cut off does not count as a failed one.
        """
        async with self._slots:
            progress = _Progress()
            try:
                url = _checked(request.url, self._policy)
                await self._exchange(url, request, progress)
            except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
                # uvloop reports some broken sockets by a RuntimeError. A sender that was closed is nobody's answer.
                if self._session.closed:
                    raise
                return progress.result(error_of(error), sentence_of(error))
            return _judge(progress)

    async def _exchange(self, url: URL, request: WebhookRequest, progress: _Progress) -> None:
        """Post; once more if an idle connection was found closed, which says nothing about the endpoint.

        The second post cannot do harm even if the first arrived: `webhook-id` tells the receiver that it is the same.
        """
        try:
            await self._post(url, request, progress)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not progress.on_used_connection or progress.status is not None:
                raise
            await self._post(url, request, progress)

    async def _post(self, url: URL, request: WebhookRequest, progress: _Progress) -> None:
        left = max(0.001, (request.timeout_seconds or self._timeout_seconds) - progress.elapsed())
        progress.on_used_connection = False
        async with self._session.post(
            url,
            data=request.body,
            headers=request.headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=left),
            trace_request_ctx=progress,
        ) as response:
            progress.status = response.status
            progress.remote_address = getattr(response, "peer", None)
            if "Retry-After" in response.headers:
                progress.retry_after = parse_retry_after(response.headers["Retry-After"], datetime.now(UTC))
            await _read(response, progress)


async def _note_used_connection(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.on_used_connection = True


async def _read(response: aiohttp.ClientResponse, progress: _Progress) -> None:
    """Up to MAX_RESPONSE_BYTES; of a longer answer the rest is not awaited, its connection is dropped."""
    while len(progress.body) < MAX_RESPONSE_BYTES:
        chunk = await response.content.read(MAX_RESPONSE_BYTES - len(progress.body))
        if not chunk:
            return
        progress.body += chunk
    if not response.content.at_eof():
        progress.truncated = True
        response.close()


def _judge(progress: _Progress) -> AttemptResult:
    """The verdict on an answer that was read."""
    status = progress.status or 0
    if 200 <= status < 300:
        return progress.result(None, f"HTTP {status}")
    if 300 <= status < 400:
        return progress.result(AttemptError.REDIRECT, f"HTTP {status}: redirects are not followed")
    return progress.result(AttemptError.HTTP_ERROR, f"HTTP {status}")
