"""Does PostgreSQL answer this process? What one of its connections learns, all of them know.

While it does not, requests are refused at once rather than each after a time-out of its own; one at a time may look
whether it is back.
"""

import threading
import time

import psycopg

PAUSE_SECONDS = 0.5
# One that looks and says nothing any more does not keep the others from looking.
_LOOK_SECONDS = 5.0


class PostgresqlAwayError(psycopg.OperationalError):
    """PostgreSQL did not answer a moment ago, and nobody asked it again."""


class Availability:
    """For all threads. `generation` grows when PostgreSQL is lost: connections that are older are not to be used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered_at = 0.0
        self._is_away = False
        self._looked_at = self._look_again_at = 0.0
        self.generation = 0

    def enter(self) -> None:
        """Raises PostgresqlAwayError while PostgreSQL is away, unless it is time for the caller to look."""
        if not self._is_away:
            return
        with self._lock:
            now = time.monotonic()
            if self._is_away and now < self._look_again_at:
                raise PostgresqlAwayError("PostgreSQL is away")
            self._looked_at, self._look_again_at = now, now + _LOOK_SECONDS

    def answered(self) -> None:
        self._answered_at = time.monotonic()
        self._is_away = False

    def failed(self, *, since: float, is_lost: bool) -> None:
        """What began at `since` got no answer. `is_lost`: on a connection that was there; False for a new one.

        Not news if another connection was answered meanwhile (then only this one is broken), or if it began before
        the last look.
        """
        with self._lock:
            if since < self._answered_at or (self._is_away and since < self._looked_at):
                return
            now = time.monotonic()
            self._is_away = True
            self._looked_at, self._look_again_at = now, now + PAUSE_SECONDS
            self.generation += is_lost

    def suspect(self) -> None:
        """A connection was found dead before it was used: those of the same age are not to be trusted."""
        with self._lock:
            self.generation += 1


# Of this process; a fork has its own copy.
availability = Availability()
