"""Questions that may hang, asked so that nobody hangs with them."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import connections

T = TypeVar("T")
# However often somebody asks, a process looks no more often than this.
KEPT_SECONDS = 2.0


@dataclass(frozen=True)
class Silence:
    """There is no answer yet."""

    seconds: float


class Look(Generic[T]):
    """One question, asked in a thread of its own. Whoever comes meanwhile waits for the same answer.

    One that hangs is left to hang, and named with its time: there is never a second thread of it. `ask` does not raise.
    """

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._answer: Future[T] = Future()
        self._began = self._ended = float("-inf")

    def begin(self) -> None:
        """Unless it is being asked, or was a moment ago."""
        with self._lock:
            is_running = self._began > self._ended
            if is_running or time.monotonic() - self._ended < KEPT_SECONDS:
                return
            self._began, self._answer = time.monotonic(), Future()
            threading.Thread(target=self._run, args=(self._answer,), name="health", daemon=True).start()

    def said(self, until: float) -> T | Silence:
        """The answer, waited for until then by the monotonic clock. After `begin`."""
        try:
            return self._answer.result(max(until - time.monotonic(), 0.0))
        except FutureTimeoutError:
            return Silence(time.monotonic() - self._began)

    def forget(self) -> None:
        """Ask anew next time; for tests."""
        with self._lock:
            if self._ended >= self._began:
                self._ended = float("-inf")
                self._began = float("-inf")

    def _run(self, answer: "Future[T]") -> None:
        try:
            answer.set_result(self._ask())
        except BaseException as error:
            answer.set_exception(error)
            raise
        finally:
            connections.close_all()
            with self._lock:
                self._ended = time.monotonic()
