"""The threads of a web process, beside that of its event loop."""

import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from core import bounds
from core.postgresql.lending import give_back
from core.turns import Owner, turns
from rest.doors.shares import Budget

P = ParamSpec("P")
T = TypeVar("T")

# As many as the front door lets in at once, and as may be without a place: none of them waits for a thread.
requests = ThreadPoolExecutor(
    bounds.MAX_API_REQUESTS
    + bounds.MAX_PAGE_REQUESTS
    + bounds.MAX_HEALTH_REQUESTS
    + bounds.MAX_WEBHOOK_TESTS
    + bounds.MAX_LOOK_UPS
    + bounds.MAX_HASHES
    + bounds.MAX_SCHEMA_CHECKS,
    thread_name_prefix="request",
)
_streams = ThreadPoolExecutor(bounds.MAX_STREAM_READS, thread_name_prefix="stream")


class Leave(Protocol):
    """Gives a request's place to the next one, from any thread, once; with `keeps_share`, to another owner's."""

    def __call__(self, *, keeps_share: bool) -> None: ...


@dataclass
class _Placed:
    """A request. `until_answered` ends when its thread is free; until then it is `counted` in these."""

    leave: Leave
    until_answered: ExitStack
    counted: set[Budget] = field(default_factory=set)


_placed: ContextVar[_Placed | None] = ContextVar("_placed", default=None)


@contextmanager
def in_place(leave: Leave) -> Iterator[None]:
    """What is inside answers a request that has a place."""
    with ExitStack() as until_answered:
        token = _placed.set(_Placed(leave, until_answered))
        try:
            yield
        finally:
            _placed.reset(token)


@contextmanager
def without_place(budget: Budget, owner: Owner = None, *, keeps_share: bool = False) -> Iterator[None]:
    """What is inside may wait for as long as somebody else's server likes: the request's place goes to the next one.

    So does its connection to the database, until it asks again: call it outside of a transaction. The request gets no
    other place until it is answered, and counts in `budget` until then, as it has its thread for so long. With
    `keeps_share` its owner has no more requests than places meanwhile: the others go on waiting behind this one.
    Raises TooMuchError, with the place kept.
    """
    if (placed := _placed.get()) is None:
        with budget.hold(owner):
            give_back()
            yield
    else:
        if budget not in placed.counted:
            placed.until_answered.enter_context(budget.hold(owner))
            placed.counted.add(budget)
            placed.leave(keeps_share=keeps_share)
        give_back()
        yield


def for_streams(function: Callable[P, T], owner: Owner) -> Callable[P, Awaitable[tuple[T, float]]]:
    """What an answer of `owner` that has begun reads next, as a coroutine; each time in any thread of a few.

    Its result comes with the seconds that it computed. Between two calls it holds no connection to the database.
    """

    def call(*args: P.args, **kwargs: P.kwargs) -> tuple[T, float]:
        began = time.thread_time()
        try:
            with turns.computing(owner) as turn:
                result = function(*args, **kwargs)
            return result, time.thread_time() - began + turn.elsewhere
        finally:
            connections.close_all()

    return sync_to_async(call, thread_sensitive=False, executor=_streams)
