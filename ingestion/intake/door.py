"""The ASGI door: the two hot routes go straight to the intake, everything else to Django.

It leaves out what Django does for pages (sessions, CSRF, templates) and keeps what the contract promises: the same
stages, problems and header fields as the DRF views, which one test suite compares.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from ingestion.checking import schema_checks
from ingestion.formats import MAX_BATCH_BODY_BYTES, MAX_SINGLE_BODY_BYTES, is_batch
from ingestion.intake.bookkeeping import Bookkeeper
from ingestion.intake.observing import IntakeObserver, Passage
from ingestion.intake.pipeline import Answer, IntakeRequest, Ports, receive_batch, receive_event
from ingestion.intake.readiness import use_door
from ingestion.intake.writer import GroupCommitWriter
from organizations.authentication import Caller, authenticate, require_scope
from organizations.rate_limits import Allowance, limiter
from organizations.scopes import Scope
from rest.client_address import warn_of_unread_proxy
from rest.middleware import request_id_of, server_timing
from rest.parsing import MAX_DISCARDED_BYTES
from rest.problems import MEDIA_TYPE, Problem, as_problem, problem_body
from rest.tracing import Span, request_span
from rest.waiting_ports import GatedDatabase, PooledDatabase, WaitingRedis

logger = logging.getLogger(__name__)
ConnectionScope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[ConnectionScope, Receive, Send], Awaitable[None]]

SINGLE, BATCH = "/api/v1/events", "/api/v1/events/batch"
# Host names that were found good, so that each is matched against ALLOWED_HOSTS once.
_MAX_HOSTS = 1_000


class ClientGone(Exception):  # noqa: N818 - it is no error of ours
    """The client closed the connection before its request was complete."""


class IntakeDoor:
    """An ASGI application in front of Django's. One for each process, used in one event loop."""

    def __init__(self, django: Application) -> None:
        self._django = django
        self._intake: _Intake | None = None
        self._hosts: set[str] = set()

    async def __call__(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if self._intake is None:
            self._intake = _Intake()
        self._intake.books.schedule()
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in (SINGLE, BATCH):
            headers = _headers(scope)
            if self._is_ours(scope, headers):
                warn_of_unread_proxy(headers)
                await self._intake.serve(scope["path"], headers, receive, send)
                return
        await self._django(scope, receive, send)

    def _is_ours(self, scope: ConnectionScope, headers: dict[str, str]) -> bool:
        """Requests for a wrong host, or over plain HTTP where HTTPS is demanded, are Django's to refuse."""
        if settings.SECURE_SSL_REDIRECT and not _is_secure(scope, headers):
            return False
        host = headers.get("host", "")
        if host not in self._hosts:
            if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
                return False
            if len(self._hosts) < _MAX_HOSTS:
                self._hosts.add(host)
        return True

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan protocol: at the end, what is noted is written and the connections are closed."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._intake is not None:
            await self._intake.close()
        await send({"type": "lifespan.shutdown.complete"})


class _Intake:
    """The intake of one process: its ports, its writer, and how a request passes through."""

    def __init__(self) -> None:
        self._database = PooledDatabase()
        self._write_database = GatedDatabase()
        self._redis = WaitingRedis()
        self.books = Bookkeeper(self._database, self._redis)
        writer = GroupCommitWriter(self._write_database)
        self._observer = IntakeObserver(lambda: writer.queued)
        use_door(writer, self._database)
        self._ports = Ports(
            database=self._database,
            redis=self._redis,
            check=schema_checks.check,
            breathe=lambda: asyncio.sleep(0),
            store=writer.store,
        )

    async def close(self) -> None:
        await self.books.write(last=True)
        self._observer.write()
        await self._write_database.close()
        await self._database.close()
        await self._redis.close()

    async def serve(self, path: str, headers: dict[str, str], receive: Receive, send: Send) -> None:
        request_id = request_id_of(headers.get("request-id"))
        passage = Passage(path, request_id, time.perf_counter())
        fields: dict[str, str] = {"content-type": "application/json"}
        code = ""
        try:
            with request_span(path, headers) as span:
                answer = await self._answer(passage, headers, receive, fields, span)
                if span is not None:
                    span.note("http.response.status_code", answer.status)
        except ClientGone:
            return
        except Exception as error:
            known = as_problem(error)
            if known is None:
                logger.exception("%s failed", path, extra={"fields": {"request_id": request_id}})
            problem = known or Problem("internal_error")
            code = problem.problem_type.code
            answer = _problem_answer(problem, request_id, fields)
        fields["request-id"] = request_id
        fields["server-timing"] = server_timing(passage.started)
        self._observer.note(passage, status=answer.status, code=code, size=len(answer.body))
        await _send(send, answer, fields)

    async def _answer(
        self, passage: Passage, headers: dict[str, str], receive: Receive, fields: dict[str, str], span: Span | None
    ) -> Answer:
        """Through the stages; `fields` gets the header fields of the rate limit, however it ends."""
        request: IntakeRequest | None = None
        batch = passage.path == BATCH or is_batch(headers)
        try:
            body = await _read_body(receive, MAX_BATCH_BODY_BYTES if batch else MAX_SINGLE_BODY_BYTES)
            caller = passage.caller = await authenticate(self._database, headers)
            require_scope(caller, Scope.EVENTS_WRITE)
            request = IntakeRequest(caller=caller, headers=headers, body=body, span=span)
            return await (receive_batch if batch else receive_event)(self._ports, request)
        finally:
            if passage.caller is not None:
                fields |= (await self._allowance(passage.caller, request)).headers()

    async def _allowance(self, caller: Caller, request: IntakeRequest | None) -> Allowance:
        if request is not None and request.allowance is not None:
            return request.allowance
        return await limiter.peek(self._redis, caller)


async def _read_body(receive: Receive, limit: int) -> bytes:
    """The whole body. One that is too large is read to its end too, within bounds, or its client saw no answer."""
    size, parts = 0, []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
        more = message.get("more_body", False)
        if size > limit and (not more or size > MAX_DISCARDED_BYTES):
            raise Problem("payload_too_large", f"The body is over {limit} bytes.")
        if not more:
            return part if len(parts) == 1 else b"".join(parts)


def _headers(scope: ConnectionScope) -> dict[str, str]:
    """Names in lower case; fields that are repeated are joined by a comma, as Django joins them."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _is_secure(scope: ConnectionScope, headers: dict[str, str]) -> bool:
    if settings.SECURE_PROXY_SSL_HEADER:
        name, value = settings.SECURE_PROXY_SSL_HEADER
        field = name.removeprefix("HTTP_").replace("_", "-").lower()
        if field in headers:
            return headers[field].split(",")[0].strip() == value
    return bool(scope["scheme"] == "https")


def _problem_answer(problem: Problem, request_id: str, fields: dict[str, str]) -> Answer:
    fields |= problem.headers
    fields["content-type"] = MEDIA_TYPE
    return Answer(status=problem.status_code, body=msgspec.json.encode(problem_body(problem, request_id)))


async def _send(send: Send, answer: Answer, fields: dict[str, str]) -> None:
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    headers += [(b"content-length", b"%d" % len(answer.body)), (b"x-content-type-options", b"nosniff")]
    if settings.SECURE_HSTS_SECONDS:
        headers.append((b"strict-transport-security", _hsts()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _hsts() -> bytes:
    parts = [f"max-age={settings.SECURE_HSTS_SECONDS}"]
    parts += ["includeSubDomains"] if settings.SECURE_HSTS_INCLUDE_SUBDOMAINS else []
    parts += ["preload"] if settings.SECURE_HSTS_PRELOAD else []
    return "; ".join(parts).encode()
