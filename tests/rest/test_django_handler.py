"""How a request passes from the front door through Django: threads, clients that go away, answers that go on."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from rest.doors.django_handler import DjangoHandler
from rest.doors.shares import Budget, TooMuchError
from rest.doors.threads import without_place

GetResponse = Callable[[HttpRequest], HttpResponseBase]
_threads: list[str] = []
_variable: ContextVar[object] = ContextVar("_variable")


def noting_thread(get_response: GetResponse) -> GetResponse:
    """A middleware of ordinary code."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        _threads.append(threading.current_thread().name)
        return get_response(request)

    return middleware


class Client:
    """Of an ASGI application; goes away when it is told to."""

    def __init__(self) -> None:
        self.goes = asyncio.Event()
        self.parts: list[bytes] = []
        self.status = 0
        self._has_asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._has_asked:
            self._has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.goes.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        if part := message.get("body"):
            self.parts.append(part)

    async def ask(self, handler: DjangoHandler, **extra: Any) -> None:
        headers = [(b"host", b"localhost")]
        scope = {"type": "http", "method": "GET", "path": "/nowhere", "query_string": b"", "headers": headers, **extra}
        await handler(scope, self.receive, self.send)


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], HttpResponseBase]) -> DjangoHandler:
    handler = DjangoHandler()
    monkeypatch.setattr(handler, "_middleware_chain", lambda _: answer())
    return handler


def test_all_middleware_runs_in_one_thread_of_the_pool(settings: Any) -> None:
    """CommonMiddleware could be a coroutine as well: between two that cannot it would be one."""
    ours = f"{__name__}.{noting_thread.__name__}"
    settings.MIDDLEWARE = [ours, "django.middleware.common.CommonMiddleware", ours]
    handler = DjangoHandler()
    _threads.clear()

    async def ask_twice() -> None:
        for _ in range(2):
            client = Client()
            await client.ask(handler)
            assert client.status == 404

    asyncio.run(ask_twice())
    first, second = _threads[:2], _threads[2:]
    assert first[0] == first[1]
    assert second[0] == second[1]
    assert all(name.startswith("request") for name in _threads)


def test_a_client_that_goes_away_keeps_its_place_until_the_thread_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def answer() -> HttpResponse:
        begun.set()
        assert may_end.wait(30)
        return HttpResponse()

    async def run() -> None:
        handler = answering(monkeypatch, answer)
        task = asyncio.create_task(Client().ask(handler))
        assert await asyncio.to_thread(begun.wait, 30)
        # As gunicorn does it some seconds after.
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=0.1)
        assert not done
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_request_without_a_place_counts_until_its_thread_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it need not wait any more, too: there are only so many threads."""
    budget, counted, left = Budget(total=1, share=1), [], []

    def answer() -> HttpResponse:
        for _ in range(2):
            with without_place(budget, "one"):
                counted.append(budget.used)
        counted.append(budget.used)
        with pytest.raises(TooMuchError), without_place(Budget(total=0, share=0), "one"):
            pass
        return HttpResponse()

    handler = answering(monkeypatch, answer)
    asyncio.run(Client().ask(handler, leave=lambda *, keeps_share: left.append(keeps_share)))
    assert (counted, left, budget.used) == ([1, 1, 1], [False], 0)


@pytest.mark.parametrize("goes", [True, False])
def test_a_stream_ends_by_itself_or_when_its_client_goes(monkeypatch: pytest.MonkeyPatch, goes: bool) -> None:
    async def run() -> None:
        client, ended = Client(), asyncio.Event()

        async def parts() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                if goes:
                    client.goes.set()
                    await asyncio.Event().wait()
                yield b"last"
            finally:
                ended.set()

        handler = answering(monkeypatch, lambda: StreamingHttpResponse(parts()))
        await asyncio.wait_for(client.ask(handler), 30)
        assert ended.is_set()
        assert client.parts == ([b"first"] if goes else [b"first", b"last"])

    asyncio.run(run())


def test_an_answer_that_goes_on_holds_nothing_of_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand leases that wait would hold a thousand requests, and whatever a thread has in its context for each."""
    needed: list[weakref.ref[Any]] = []

    async def run() -> None:
        client, may_end = Client(), asyncio.Event()

        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            await may_end.wait()
            yield b"last"

        def answer(request: HttpRequest) -> HttpResponseBase:
            in_context = Client()
            _variable.set(in_context)
            needed.extend([weakref.ref(request), weakref.ref(in_context)])
            return StreamingHttpResponse(parts())

        handler = DjangoHandler()
        monkeypatch.setattr(handler, "_middleware_chain", answer)
        task = asyncio.create_task(client.ask(handler))
        async with asyncio.timeout(30):
            while not client.parts:
                await asyncio.sleep(0.01)
        gc.collect()
        assert [one() for one in needed] == [None, None]
        may_end.set()
        await asyncio.wait_for(task, 30)
        assert client.parts == [b"first", b"last"]

    asyncio.run(run())
