"""psycopg's connections with a deadline: a server that hangs, or that the network lost, ends a wait all the same.

PostgreSQL's own limits (`statement_timeout`) end what is slow. These here are for when it does not answer at all, and
so a little longer.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeVar

import psycopg
from psycopg.abc import PQGen

from core.postgresql.availability import availability
from core.postgresql.compat import WaitTimeout
from core.turns import turns

RV = TypeVar("RV")
# What psycopg waits for at a time, so that signals are heeded.
_INTERVAL = 0.1
CHECK_SECONDS = 2.0
# A server that is alive is told that nobody waits any more, as when a commit waits for a standby that is away: its
# sessions would pile up.
_CANCEL_SECONDS = 1.0
# A connection that was idle for longer is tried first, so that a restart of the server costs no request.
IDLE_SECONDS = 1.0


class _Bounded(psycopg.BaseConnection[Any]):
    """What both kinds share. `limit`: seconds for one answer; None for none."""

    limit: float | None = None
    _generation = 0
    _answered_at = 0.0
    opened_at = 0.0
    # One that was closed meanwhile, as by a restart, is replaced: PostgreSQL need not be away.
    _is_checked = False

    @property
    def is_suspect(self) -> bool:
        """PostgreSQL was lost since it was opened."""
        return self._generation != availability.generation

    @property
    def is_read_only(self) -> bool:
        """By the session's default, of which PostgreSQL has told."""
        return self.pgconn.parameter_status(b"default_transaction_read_only") == b"on"

    @property
    def is_fresh(self) -> bool:
        return not self.is_suspect and time.monotonic() - self._answered_at <= IDLE_SECONDS

    def _note_answer(self) -> None:
        self._answered_at = time.monotonic()
        availability.answered()

    def _note_opened(self) -> None:
        self._generation = availability.generation
        self._note_answer()
        self.opened_at = self._answered_at

    @contextmanager
    def _watched(self) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        except psycopg.OperationalError as error:
            if self._is_checked and error.sqlstate is None and not isinstance(error, WaitTimeout):
                availability.suspect()
            elif error.sqlstate is None:
                availability.failed(since=started, is_lost=True)
            raise
        self._note_answer()

    @contextmanager
    def _checked(self) -> Iterator[None]:
        limit, self.limit, self._is_checked = self.limit, CHECK_SECONDS, True
        try:
            yield
        finally:
            self.limit, self._is_checked = limit, False


class BoundedConnection(_Bounded, psycopg.Connection[Any]):
    """For threads."""

    @classmethod
    def connect(cls, *args: Any, **parameters: Any) -> Self:
        with _opening():
            connection = super().connect(*args, **parameters)
        connection._note_opened()
        return connection

    def wait(self, gen: PQGen[RV], interval: float = _INTERVAL, timeout: float | None = None) -> RV:
        try:
            with turns.asking(), self._watched():
                return super().wait(gen, interval=interval, timeout=self.limit if timeout is None else timeout)
        except WaitTimeout as error:
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=_CANCEL_SECONDS)
            self.pgconn.finish()
            raise psycopg.OperationalError("PostgreSQL does not answer") from error

    def check(self) -> None:
        """Raises psycopg's OperationalError when PostgreSQL does not answer on it soon."""
        with self._checked():
            self.execute("")


class WaitingConnection(_Bounded, psycopg.AsyncConnection[Any]):
    """For an event loop."""

    @classmethod
    async def connect(cls, *args: Any, **parameters: Any) -> Self:
        with _opening():
            connection = await super().connect(*args, **parameters)
        connection._note_opened()
        return connection

    async def wait(self, gen: PQGen[RV], interval: float = _INTERVAL, timeout: float | None = None) -> RV:
        try:
            with self._watched():
                return await super().wait(gen, interval=interval, timeout=self.limit if timeout is None else timeout)
        except WaitTimeout as error:
            with suppress(psycopg.Error):
                await self.cancel_safe(timeout=_CANCEL_SECONDS)
            self.pgconn.finish()
            raise psycopg.OperationalError("PostgreSQL does not answer") from error

    async def check(self) -> None:
        """Raises psycopg's OperationalError when PostgreSQL does not answer on it soon."""
        with self._checked():
            await self.execute("")


@contextmanager
def _opening() -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    except psycopg.OperationalError:
        availability.failed(since=started, is_lost=False)
        raise
