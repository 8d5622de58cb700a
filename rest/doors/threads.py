"""The threads of a web process, beside that of its event loop."""

import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from core import bounds
from core.turns import Owner, turns

P = ParamSpec("P")
T = TypeVar("T")

# As many as the front door lets in at once: none of them waits for a thread.
requests = ThreadPoolExecutor(
    bounds.MAX_API_REQUESTS + bounds.MAX_PAGE_REQUESTS + bounds.MAX_HEALTH_REQUESTS, thread_name_prefix="request"
)
_streams = ThreadPoolExecutor(bounds.MAX_STREAM_READS, thread_name_prefix="stream")


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
