"""The ASGI application: what every request passes, without a thread, before the intake or Django sees it.

1. What RFC 9112 refuses is refused. A target in absolute form (`GET http://host/path`) becomes a path and a host.
2. Below `/api` only one spelling is a path of ours: another case, or doubled slashes, is a 404 problem.
3. The two hot routes go to the intake, which checks the key and then reads the body.
4. For the rest of the API the key is checked here, then the body is read. A body that comes without a key is read when
   it is declared short enough. None is longer than its route takes, and all in a process not longer than a budget.
   Django gets bodies whole: nothing in it waits for a client, and nothing is spooled to a disk.
5. Who is refused again and again gets its answers later and later.
6. A request waits for its place in Django, since each has a thread there beside the intake's loop. What it computes is
   its owner's: who takes more than a share of the process's time waits, as long as others want something too.

The numbers are in `core/bounds.py`.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from core import bounds
from core.problems import Problem
from core.turns import FairTime, Owner
from ingestion.formats.dispatch import MAX_BATCH_BODY_BYTES, MAX_SINGLE_BODY_BYTES
from ingestion.intake.door import SINGLE, IntakeDoor
from installation.health.seen import BODY_BYTES, TOKEN_HEADER, is_token
from installation.health.seen import PATH as DOCTOR_PATH
from organizations.keys.authentication import Caller
from rest.doors.asgi import Application, ConnectionScope, Receive, Send, headers_of, put_off
from rest.doors.client_address import network_of_peer
from rest.doors.django_handler import CPU_SECONDS, LEAVE, OWNER
from rest.doors.refusals import Refusals
from rest.doors.request_bodies import ClientGone, HeldBody, bodies, forms, take_bytes, too_large
from rest.doors.request_targets import fault_of, take_origin_form
from rest.doors.shares import Budget, Places, RefusalPace
from rest.middleware import is_below_api
from rest.problems import as_problem

_KEYED = "/api/v1/"
_NO_MEANING = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "CONNECT"})
_SHORT = 16 * bounds.KIB
# The first that the path begins with. Endpoints of the API have limits of their own, below this one; the longest form
# holds a filter of 256 KiB, as a browser encodes it.
_LEASE = "/api/v1/inbox/lease"
_BODY_LIMITS = (
    (SINGLE, MAX_BATCH_BODY_BYTES),
    (_LEASE, _SHORT),
    (_KEYED, MAX_SINGLE_BODY_BYTES),
    ("/console/sign-in/", _SHORT),
    ("/console/", bounds.MIB),
    ("/admin/login/", _SHORT),
    ("/admin/", bounds.MIB),
    ("/account/", 64 * bounds.KIB),
)
# Asked by machines that end the process when it does not answer.
_PROBES = frozenset({"/health/live", "/health/ready", "/health/status", DOCTOR_PATH})


def body_limit(method: str, path: str) -> int:
    """The most bytes of body that such a request may have, wherever it goes."""
    if method in _NO_MEANING:
        return _SHORT
    return next((limit for prefix, limit in _BODY_LIMITS if path.startswith(prefix)), _SHORT)


@dataclass(slots=True, kw_only=True)
class _Request:
    """One for Django. `held` ends with it; `place` with the beginning of its answer, or as soon as it leaves it."""

    scope: ConnectionScope
    headers: dict[str, str]
    started: float
    held: AsyncExitStack
    fault: Problem | None = None
    place: AsyncExitStack = field(default_factory=AsyncExitStack)
    caller: Caller | None = None

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    @property
    def has_body(self) -> bool:
        return self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers

    @property
    def owner(self) -> Owner:
        if self.caller is not None:
            return self.caller.organization_id.int
        network = network_of_peer(self.scope, self.headers)
        # A balancer asks from the address from which everybody's pages are asked for, too; and while PostgreSQL makes
        # one probe wait, the others need not.
        return (self.path, network) if self.is_probe else network

    @property
    def is_probe(self) -> bool:
        return self.path in _PROBES


class FrontDoor:
    """One for each process, used in one event loop."""

    def __init__(self, django: Application, fair_time: FairTime) -> None:
        self._django = django
        self._time = fair_time
        self._pace = RefusalPace()
        self._intake = IntakeDoor(self._time.note, self._pace)
        self._api = Places(total=bounds.MAX_API_REQUESTS, share=bounds.MAX_API_REQUESTS_OF_ONE, fair_time=self._time)
        self._pages = Places(
            total=bounds.MAX_PAGE_REQUESTS, share=bounds.MAX_PAGE_REQUESTS_OF_ONE, fair_time=self._time
        )
        self._health = Places(
            total=bounds.MAX_HEALTH_REQUESTS, share=bounds.MAX_HEALTH_REQUESTS_OF_ONE, fair_time=self._time
        )
        self._answers = Budget(total=bounds.MAX_ANSWER_BYTES_IN_FLIGHT, share=bounds.MAX_ANSWER_BYTES_OF_ONE)
        self._refusals = Refusals()

    async def __call__(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._intake.live(receive, send)
            return
        if scope["type"] != "http":
            # A WebSocket, of a server that hands it on.
            await send({"type": "websocket.close"})
            return
        self._intake.schedule_books()
        headers = headers_of(scope)
        if scope["path"][:1] != "/":
            take_origin_form(scope, headers)
        fault = fault_of(scope, headers)
        if fault is None and self._intake.takes(scope, headers):
            await self._intake.serve(scope, headers, receive, send)
        else:
            await self._to_django(scope, headers, receive, send, fault)

    async def _to_django(
        self, scope: ConnectionScope, headers: dict[str, str], receive: Receive, send: Send, fault: Problem | None
    ) -> None:
        async with AsyncExitStack() as held:
            request = _Request(scope=scope, headers=headers, started=time.perf_counter(), held=held, fault=fault)
            try:
                receive = await self._admit(request, receive)
            except ClientGone:
                return
            except Exception as error:
                problem = as_problem(error)
                if problem is None:
                    raise
                await self._refuse(request, problem, send)
                return
            await self._django(scope, receive, self._watched(request, send))

    async def _admit(self, request: _Request, receive: Receive) -> Receive:
        """Who may be let in, with the body, into its place. Raises Problem or ClientGone."""
        if request.fault is not None:
            raise request.fault
        keyed = request.path.startswith(_KEYED) and not self._intake.is_redirected(request.scope, request.headers)
        if keyed:
            await self._authenticate(request)
        if request.has_body:
            is_doctor = request.path == DOCTOR_PATH and is_token(request.headers.get(TOKEN_HEADER.lower(), ""))
            limit = BODY_BYTES if is_doctor else body_limit(request.scope["method"], request.path)
            declared = int(request.headers.get("content-length", 0))
            if declared > (bounds.MAX_DISCARDED_BYTES if keyed else limit):
                raise too_large(limit)
            body = request.held.enter_context(HeldBody(bodies if keyed or is_doctor else forms))
            discarded = bounds.MAX_DISCARDED_BYTES if keyed else 0
            read = body.read(receive, limit, owner=request.owner, declared=declared, discarded=discarded)
            receive = _whole(await read, receive)
        places = self._health if request.is_probe else self._api if keyed else self._pages
        request.scope[OWNER] = request.owner
        # Probes come every second: nobody would ever be alone, if those that cost little counted.
        if not request.is_probe or self._time.used(request.owner) > bounds.FREE_TIME:
            self._time.note(request.owner)
        patience: dict[str, Any] = {}
        if request.path == _LEASE:
            patience = {"most_waiting": bounds.MAX_QUEUED_LEASES, "seconds": bounds.QUEUED_LEASE_SECONDS}
        with put_off(request.scope, request.owner):
            of_all = await request.place.enter_async_context(places.place(request.owner, **patience))
        request.held.push_async_exit(request.place)
        request.scope[LEAVE] = partial(_leave, asyncio.get_running_loop(), request.place, of_all)
        return receive

    async def _authenticate(self, request: _Request) -> None:
        """The view asks again, of the cache."""
        try:
            request.caller = await self._intake.authenticate(request.headers)
        except Problem as problem:
            # What a suspended organization may still read is the view's to say.
            if request.has_body or problem.status_code != 403:
                raise

    def _watched(self, request: _Request, send: Send) -> Send:
        """Gives the place back when the answer begins, and holds its bytes against the budget if it is large."""
        replaced = False

        async def watched_send(message: Mapping[str, Any]) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                self._time.spend(request.owner, request.scope.get(CPU_SECONDS, 0.0))
                await request.place.aclose()
                try:
                    self._hold_answer(request, message)
                except Problem as problem:
                    replaced = True
                    await self._refuse(request, problem, send)
            if not replaced:
                await send(message)

        return watched_send

    def _hold_answer(self, request: _Request, start: Mapping[str, Any]) -> None:
        """Raises Problem 503 when readers have too much of the API's answers to take yet."""
        if request.caller is None:
            return
        size = next((int(value) for name, value in start["headers"] if name.lower() == b"content-length"), 0)
        if size >= bounds.LARGE_ANSWER_BYTES:
            take_bytes(self._answers, request.owner, size)
            request.held.callback(self._answers.give_back, request.owner, size)

    async def _refuse(self, request: _Request, problem: Problem, send: Send) -> None:
        """What is left of a body is not read."""
        fields = {"connection": "close"} if request.has_body or problem.status_code in (400, 501) else {}
        if request.caller is not None:
            fields |= await self._intake.rate_limit_fields(request.caller)
        await request.held.aclose()
        with put_off(request.scope, request.owner):
            await self._pace.keep(request.owner)
        await self._refusals.answer(
            send,
            problem,
            method=request.scope["method"],
            headers=request.headers,
            fields=fields,
            started=request.started,
            as_page=not is_below_api(request.path) and "text/html" in request.headers.get("accept", ""),
        )


def _leave(loop: asyncio.AbstractEventLoop, place: AsyncExitStack, of_all: ExitStack, *, keeps_share: bool) -> None:
    """From any thread: as soon as the loop comes to it."""
    if keeps_share:
        loop.call_soon_threadsafe(of_all.close)
    else:
        asyncio.run_coroutine_threadsafe(place.aclose(), loop)


def _whole(body: bytes, receive: Receive) -> Receive:
    """The body in one message; from then on what the server says, such as that the client has gone."""
    message: dict[str, Any] | None = {"type": "http.request", "body": body, "more_body": False}

    async def receive_whole() -> Mapping[str, Any]:
        nonlocal message
        if message is None:
            return await receive()
        whole, message = message, None
        return whole

    return receive_whole
