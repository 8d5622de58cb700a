"""The ASGI door: the two hot routes, straight from the socket to the intake.

It leaves out what Django does for pages (sessions, CSRF, templates) and keeps what the contract promises: the same
stages, problems and header fields as the DRF views, which one test suite compares. What it leaves to others, and what
stands in front of it, is the business of `events_platform/front_door.py`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from core.ports.asynchronous import AsyncRedis, GatedDatabase, PooledDatabase
from core.problems import Problem
from core.tracing import request_span
from core.turns import Owner
from ingestion.formats.dispatch import MAX_BATCH_BODY_BYTES, MAX_SINGLE_BODY_BYTES, is_batch
from ingestion.intake.bookkeeping import Bookkeeper
from ingestion.intake.observing import IntakeObserver, RequestLog
from ingestion.intake.pipeline import Answer, IntakeRequest, Ports, receive_batch, receive_event
from ingestion.intake.readiness import use_door
from ingestion.intake.writer import GroupCommitWriter
from ingestion.schemas.checking import schema_checks
from organizations.keys.authentication import Caller, authenticate, require_scope
from organizations.keys.scopes import Scope
from organizations.rate_limits import limiter
from rest.doors.asgi import ConnectionScope, Receive, Send, problem_answer, put_off, send_answer
from rest.doors.client_address import network_of_peer, warn_of_unread_proxy
from rest.doors.request_bodies import ClientGone, HeldBody
from rest.doors.shares import RefusalPace
from rest.middleware import request_id_of, server_timing
from rest.problems import as_problem

logger = logging.getLogger(__name__)

SINGLE, BATCH = "/api/v1/events", "/api/v1/events/batch"
# Before anything was taken from the plan.
_FREE_REFUSALS = frozenset({401, 403, 413, 429})
# Host names that were found good, so that each is matched against ALLOWED_HOSTS once.
_MAX_HOSTS = 1_000


class IntakeDoor:
    """One for each process, used in one event loop. `note` is told whose events come; `pace` is of what is refused."""

    def __init__(self, note: Callable[[Owner], None], pace: RefusalPace) -> None:
        self._note = note
        self._pace = pace
        self._made: _Intake | None = None
        self._hosts: set[str] = set()

    @property
    def _intake(self) -> "_Intake":
        """Made in the loop that serves requests."""
        if self._made is None:
            self._made = _Intake(self._note, self._pace)
        return self._made

    def schedule_books(self) -> None:
        """What requests note is written soon, whichever door they come through."""
        self._intake.books.schedule()

    def takes(self, scope: ConnectionScope, headers: dict[str, str]) -> bool:
        """Requests for a wrong host, or over plain HTTP where HTTPS is demanded, are Django's to refuse."""
        if scope["method"] != "POST" or scope["path"] not in (SINGLE, BATCH):
            return False
        if self.is_redirected(scope, headers):
            return False
        host = headers.get("host", "")
        if host not in self._hosts:
            if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
                return False
            if len(self._hosts) < _MAX_HOSTS:
                self._hosts.add(host)
        return True

    def is_redirected(self, scope: ConnectionScope, headers: dict[str, str]) -> bool:
        """Whether it came over plain HTTP where HTTPS is demanded: Django leads it there, whoever sent it."""
        return settings.SECURE_SSL_REDIRECT and not _is_secure(scope, headers)

    def serve(self, scope: ConnectionScope, headers: dict[str, str], receive: Receive, send: Send) -> Awaitable[None]:
        """Answers a request that it takes."""
        warn_of_unread_proxy(headers)
        return self._intake.serve(scope, headers, receive, send)

    async def authenticate(self, headers: dict[str, str]) -> Caller:
        """The caller of any route of the API; raises Problem 401, 403 or 503."""
        return await authenticate(self._intake.database, headers)

    async def rate_limit_fields(self, caller: Caller) -> dict[str, str]:
        """The header fields that say what is left to the caller's organization."""
        return (await limiter.peek(self._intake.redis, caller)).headers()

    async def live(self, receive: Receive, send: Send) -> None:
        """The lifespan protocol: at the end, what is noted is written and the connections are closed."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._made is not None:
            await self._made.close()
        await send({"type": "lifespan.shutdown.complete"})


class _Reply(NamedTuple):
    """What becomes of a request, whose it was once its key was known, and the header fields that this leaves."""

    result: Answer | Problem
    caller: Caller | None
    fields: dict[str, str]


class _Intake:
    """The intake of one process: its ports, its writer, and how a request passes through."""

    def __init__(self, note: Callable[[Owner], None], pace: RefusalPace) -> None:
        self._note = note
        self._pace = pace
        self.database = PooledDatabase()
        self._write_database = GatedDatabase()
        self.redis = AsyncRedis()
        self.books = Bookkeeper(self.database, self.redis)
        writer = GroupCommitWriter(self._write_database)
        self._observer = IntakeObserver(lambda: writer.queued)
        use_door(writer, self.database)
        self._ports = Ports(
            database=self.database,
            redis=self.redis,
            check=schema_checks.check,
            breathe=lambda: asyncio.sleep(0),
            store=writer.store,
        )

    async def close(self) -> None:
        await self.books.write(last=True)
        self._observer.write()
        await self._write_database.close()
        await self.database.close()
        await self.redis.close()

    async def serve(self, scope: ConnectionScope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request_id = request_id_of(headers.get("request-id"))
        try:
            reply = await self._reply(scope["path"], request_id, headers, receive)
        except ClientGone:
            return
        result, caller = reply.result, reply.caller
        if isinstance(result, Problem):
            status, code = result.status_code, result.problem_type.code
            body, own_fields = problem_answer(result, request_id)
        else:
            status, code, body, own_fields = result.status, "", result.body, {}
        fields = {"content-type": "application/json", **reply.fields, **own_fields, "request-id": request_id}
        fields["server-timing"] = server_timing(started)
        log = RequestLog(scope["path"], request_id, started, caller)
        self._observer.note(log, status=status, code=code, size=len(body))
        if status in _FREE_REFUSALS:
            owner = caller.organization_id.int if caller else network_of_peer(scope, headers)
            with put_off(scope, owner):
                await self._pace.keep(owner)
        await send_answer(send, status, body, fields)

    async def _reply(self, path: str, request_id: str, headers: dict[str, str], receive: Receive) -> _Reply:
        """Through the stages; nothing of a body is read before its sender is known. Raises ClientGone."""
        caller = allowance = None
        batch = path == BATCH or is_batch(headers)
        with HeldBody() as held:
            try:
                with request_span(path, headers) as span:
                    caller = await authenticate(self.database, headers)
                    require_scope(caller, Scope.EVENTS_WRITE)
                    self._note(caller.organization_id.int)
                    limit = MAX_BATCH_BODY_BYTES if batch else MAX_SINGLE_BODY_BYTES
                    declared = int(headers.get("content-length", 0))
                    body = await held.read(receive, limit, owner=caller.organization_id.int, declared=declared)
                    request = IntakeRequest(
                        caller=caller, request_id=request_id, headers=headers, body=body, hold=held.grow, span=span
                    )
                    result, allowance = await (receive_batch if batch else receive_event)(self._ports, request)
                    if isinstance(result, Problem):
                        raise result  # noqa: TRY301 - the span is to see it
                    if span is not None:
                        span.note("http.response.status_code", result.status)
            except ClientGone:
                raise
            except Exception as error:
                if (problem := as_problem(error)) is None:
                    logger.exception("%s failed", path, extra={"fields": {"request_id": request_id}})
                # Its traceback would keep the body alive, in a cycle.
                result = (problem or Problem("internal_error")).with_traceback(None)
            fields = {} if held.is_read else {"connection": "close"}
        if caller is not None:
            fields |= (allowance or await limiter.peek(self.redis, caller)).headers()
        return _Reply(result, caller, fields)


def _is_secure(scope: ConnectionScope, headers: dict[str, str]) -> bool:
    if settings.SECURE_PROXY_SSL_HEADER:
        name, value = settings.SECURE_PROXY_SSL_HEADER
        field = name.removeprefix("HTTP_").replace("_", "-").lower()
        if field in headers:
            return headers[field].split(",")[0].strip() == value
    return bool(scope["scheme"] == "https")
