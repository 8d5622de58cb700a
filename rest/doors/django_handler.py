"""Django as the front door calls it: each request is one call of ordinary code, in one thread of a pool.

Django's own ASGI handler takes a request from the event loop to a thread and back wherever a middleware that knows only
one of the two stands beside one that knows both, and starts a thread for each request: docs/adr/0016.
"""

import asyncio
import contextvars
import time
from contextlib import nullcontext, suppress
from functools import partial
from io import BytesIO
from typing import Any

from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.signals import request_started
from django.db import connections
from django.http import FileResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from core.turns import turns
from rest.compat import close_request, tell_finished
from rest.doors import threads
from rest.doors.asgi import ConnectionScope, Receive, Send

# In the scope of a request: whose it is, unless it takes no turns; what gives its place back before it is answered, in
# any thread; and what it has computed once it is answered.
OWNER = "owner"
LEAVE = "leave"
CPU_SECONDS = "cpu_seconds"


class DjangoHandler(ASGIHandler):
    """An ASGI application for HTTP; bodies come whole, in one message."""

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: FBT001, FBT002 - as Django has it
        """All of it as ordinary code, whatever else it could be."""
        super().load_middleware(is_async=False)

    async def __call__(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        response = await self._worked_on(scope, receive)
        if response.streaming:
            await self._stream(response, receive, send)
        else:
            await self.send_response(response, send)

    async def _worked_on(self, scope: ConnectionScope, receive: Receive) -> Any:
        """The answer. What was needed for it goes with this call: one that waits may be sent for many seconds."""
        body = (await receive()).get("body", b"")
        respond = partial(contextvars.copy_context().run, self._respond, scope, body)
        work = asyncio.get_running_loop().run_in_executor(threads.requests, respond)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The client has gone. Its place is held until the thread is free: nobody gets more of them by going.
            await asyncio.wait([work])
            raise

    def _respond(self, scope: ConnectionScope, body: bytes) -> Any:
        """The answer; `scope` is told how long it took. Nothing, such as a connection, is held while it is read."""
        began = time.thread_time()
        placed = threads.in_place(scope[LEAVE]) if LEAVE in scope else nullcontext()
        with placed, turns.computing(scope[OWNER]) if OWNER in scope else nullcontext() as turn:
            try:
                return self._answer(scope, body)
            finally:
                scope[CPU_SECONDS] = time.thread_time() - began + (turn.elsewhere if turn else 0.0)

    def _answer(self, scope: ConnectionScope, body: bytes) -> Any:
        set_script_prefix(get_script_prefix(scope))
        request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, BytesIO(body))
        response: Any = self.get_response(request) if request is not None else refusal
        tell_finished(response, self.__class__)
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        if response.streaming:
            connections.close_all()
            close_request(request, response)
        else:
            response.close()
        return response

    async def _stream(self, response: HttpResponseBase, receive: Receive, send: Send) -> None:
        """Ends when the client goes, too."""
        sending = asyncio.ensure_future(self.send_response(response, send))
        leaving = asyncio.ensure_future(receive())
        leaving.add_done_callback(lambda _: sending.cancel())
        try:
            with suppress(asyncio.CancelledError):
                await sending
        finally:
            leaving.cancel()
            response.close()
