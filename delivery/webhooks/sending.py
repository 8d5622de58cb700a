"""Sends webhooks: one POST, no redirects, bounded time and answer, to vetted addresses only, by no proxy but ours."""

import asyncio
import functools
import socket
import ssl
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Self

import aiohttp
from django.conf import settings
from yarl import URL

from delivery.attempt_errors import AttemptError
from delivery.attempts.exchange import Exchange, Timings, current
from delivery.attempts.headers import DEFAULT_HEADERS, kept_headers, shown_request_headers, storable
from delivery.attempts.records import AttemptRecord
from delivery.authorizing.client_certificates import ClientContexts
from delivery.authorizing.tokens import Token, TokenFailure, Tokens, fetch_token
from delivery.egress.proxy import Proxy, TunnelingConnector
from delivery.endpoints.credentials import ClientCertificate, ClientCredentials
from delivery.webhooks.answers import (
    MAX_LINE_BYTES,
    MAX_RESPONSE_BYTES,
    MAX_RESPONSE_HEADERS,
    BoundedConnector,
    bound_tls,
    tls_context,
)
from delivery.webhooks.failures import explain, judge_status
from delivery.webhooks.guard import GuardedResolver, NetworkPolicy, check_url, guarded_socket
from delivery.webhooks.retry_schedule import parse_retry_after
from delivery.webhooks.webhook_requests import WebhookRequest

MAX_DETAIL = 300
MAX_CONCURRENT = 1000
# Many servers close idle connections after 5 s (Node.js, Apache); a request on a closing connection is lost.
KEEPALIVE_SECONDS = 4.0

# The check of a URL resolves nothing, so its outcome stays true; it is 17 of the 150 µs that a send takes.
_checked = functools.lru_cache(maxsize=1024)(check_url)


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptResult:
    """What came of one attempt: delivered if `error` is None, that is after a 2xx that was read to its end or bound.

    `status` is None when no answer came. `detail` is a sentence for people, at most MAX_DETAIL characters.
    `response_text` is the beginning of the answer, safe for PostgreSQL, cut at MAX_RESPONSE_BYTES of the answer;
    `response_headers` of one field that came several times hold all values, MAX_HEADER_BYTES of all fields.
    `request_headers` are those that were sent, or were about to be; what a subscription added is masked.
    """

    error: AttemptError | None
    status: int | None
    detail: str
    duration_ms: int
    response_text: str
    response_truncated: bool
    retry_after: timedelta | None
    remote_address: str | None
    url: str = ""
    timings: Timings = field(default_factory=Timings)
    request_headers: Mapping[str, str] = field(default_factory=dict)
    response_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def delivered(self) -> bool:
        return self.error is None

    @property
    def gone(self) -> bool:
        """The endpoint says that it will never take anything again."""
        return self.status == 410

    def record(self, started_at: datetime) -> AttemptRecord:
        """What is kept of it besides the answer's body; `started_at` is by the database's clock."""
        return AttemptRecord(
            started_at=started_at,
            status=self.status,
            url=self.url,
            remote_address=self.remote_address,
            timings=self.timings,
            request_headers=self.request_headers,
            response_headers=self.response_headers,
            detail=self.detail,
        )


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
        ca_file: str = "",
        proxy: Proxy | None = None,
        resolver: GuardedResolver | None = None,
    ) -> None:
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(max_concurrent)
        self._ssl_context = bound_tls(ssl_context) if ssl_context else tls_context("")
        self._resolver = resolver
        self._proxy = proxy
        self._client_contexts = ClientContexts(ca_file)
        self._tokens = Tokens(self._fetch_token)

    @classmethod
    def from_settings(cls) -> Self:
        return cls(
            policy=NetworkPolicy.from_settings(),
            timeout_seconds=settings.WEBHOOK_TIMEOUT_SECONDS,
            ssl_context=tls_context(settings.WEBHOOK_CA_FILE),
            ca_file=settings.WEBHOOK_CA_FILE,
            proxy=Proxy.from_url(settings.WEBHOOK_PROXY),
        )

    async def __aenter__(self) -> Self:
        self._resolver = self._resolver or GuardedResolver(self._policy)
        connector = (
            BoundedConnector if self._proxy is None else functools.partial(TunnelingConnector, proxy=self._proxy)
        )(
            resolver=self._resolver,
            socket_factory=functools.partial(_noted_socket, self._policy),
            ssl=self._ssl_context,
            limit=0,  # `_slots` limits: in the connector's own queue the timeout would run already
            keepalive_timeout=KEEPALIVE_SECONDS,
        )
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
            exchange = Exchange()
            current.set(exchange)
            failure: tuple[AttemptError | None, str]
            try:
                url = _checked(request.url, self._policy)
                if isinstance(request.auth, ClientCredentials):
                    request = await self._exchange_with_token(url, request, request.auth, exchange)
                else:
                    await self._exchange(url, request, exchange)
            except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
                # uvloop reports some broken sockets by a RuntimeError. A sender that was closed is nobody's answer.
                if self._session.closed:
                    raise
                failure = explain(error, exchange.phase, url=request.url, seconds=self._seconds_of(request))
            else:
                failure = judge_status(exchange.status or 0)
            return _result(request, exchange, *failure)

    def _seconds_of(self, request: WebhookRequest) -> float:
        """How long the attempt may take."""
        return request.timeout_seconds or self._timeout_seconds

    async def _exchange_with_token(
        self, url: URL, request: WebhookRequest, credentials: ClientCredentials, exchange: Exchange
    ) -> WebhookRequest:
        """Likewise with a token, and once more with a new one if it is refused; returns what was sent last."""
        seconds = self._seconds_of(request)
        token = await _in_time(self._tokens.get(credentials), seconds - exchange.elapsed())
        authorized = _with_token(request, token)
        await self._exchange(url, authorized, exchange)
        if exchange.status == HTTPStatus.UNAUTHORIZED:
            token = await _in_time(self._tokens.get(credentials, but=token), seconds - exchange.elapsed())
            authorized = _with_token(request, token)
            exchange.forget_answer()
            await self._exchange(url, authorized, exchange)
        return authorized

    async def _fetch_token(self, credentials: ClientCredentials) -> Token:
        return await fetch_token(self._session, credentials, check=lambda url: _checked(url, self._policy))

    async def _tls_of(self, request: WebhookRequest) -> ssl.SSLContext | bool:
        """What aiohttp is told: True is the context of the connector."""
        if not isinstance(request.auth, ClientCertificate):
            return True
        if (made := self._client_contexts.made(request.auth)) is not None:
            return made
        return await asyncio.to_thread(self._client_contexts.make, request.auth)

    async def _exchange(self, url: URL, request: WebhookRequest, exchange: Exchange) -> None:
        """Post; once more if an idle connection was found closed, which says nothing about the endpoint.

        The second post cannot do harm even if the first arrived: `webhook-id` tells the receiver that it is the same.
        """
        try:
            await self._post(url, request, exchange)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not exchange.on_used_connection or exchange.status is not None:
                raise
            await self._post(url, request, exchange)

    async def _post(self, url: URL, request: WebhookRequest, exchange: Exchange) -> None:
        tls = await self._tls_of(request)
        left = max(0.001, self._seconds_of(request) - exchange.elapsed())
        exchange.begin()
        async with self._session.post(
            url,
            data=request.body,
            headers=request.headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=left),
            ssl=tls,
        ) as response:
            exchange.status = response.status
            exchange.response_headers = kept_headers(response.raw_headers)
            if "Retry-After" in response.headers:
                exchange.retry_after = parse_retry_after(response.headers["Retry-After"], datetime.now(UTC))
            await _read(response, exchange)


def _with_token(request: WebhookRequest, token: str) -> WebhookRequest:
    """In place of a header of that name that the subscription adds."""
    others = {name: value for name, value in request.headers.items() if name.lower() != "authorization"}
    return replace(request, headers={**others, "Authorization": f"Bearer {token}"})


async def _in_time(token: Coroutine[Any, Any, str], seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            return await token
    except TimeoutError as error:
        raise TokenFailure("The attempt's time was over before the token endpoint had answered.") from error


def _noted_socket(policy: NetworkPolicy, info: tuple[Any, ...]) -> socket.socket:
    """A guarded one; that it is made tells that the name was looked up."""
    made = guarded_socket(policy, info)
    if (exchange := current.get()) is not None:
        exchange.note_socket(str(info[4][0]))
    return made


async def _read(response: aiohttp.ClientResponse, exchange: Exchange) -> None:
    """Up to MAX_RESPONSE_BYTES; of a longer answer the rest is not awaited, its connection is dropped."""
    while len(exchange.body) < MAX_RESPONSE_BYTES:
        chunk = await response.content.read(MAX_RESPONSE_BYTES - len(exchange.body))
        if not chunk:
            return
        exchange.body += chunk
    if not response.content.at_eof():
        exchange.truncated = True
        response.close()


def _result(request: WebhookRequest, exchange: Exchange, error: AttemptError | None, detail: str) -> AttemptResult:
    return AttemptResult(
        error=error,
        status=exchange.status,
        detail=storable(detail)[:MAX_DETAIL],
        duration_ms=round(exchange.elapsed() * 1000),
        response_text=storable(exchange.body.decode("utf-8", "replace")),
        response_truncated=exchange.truncated,
        retry_after=exchange.retry_after,
        remote_address=exchange.remote_address,
        url=request.url,
        timings=exchange.timings(),
        request_headers=shown_request_headers(request.url, request.headers, length=len(request.body)),
        response_headers=exchange.response_headers,
    )
