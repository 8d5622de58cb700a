"""Django's backend with bounded connections; a connection on which a statement failed is not used again.

That one was broken, or has kept what was wrong: a session that began while the database was read-only stays so.
"""

import time
from typing import Any

from django.conf import settings
from django.db.backends.postgresql import base
from psycopg import OperationalError
from psycopg_pool import ConnectionPool

from core.postgresql.availability import availability
from core.postgresql.connections import BoundedConnection

# PostgreSQL ends a statement of the web server first, where it still can.
GRACE_SECONDS = 2.0


class Pool(ConnectionPool[BoundedConnection]):
    """Gives out connections that work: one that was idle is tried, and with one that is dead all older ones go."""

    _generation = 0

    def getconn(self, timeout: float | None = None) -> BoundedConnection:
        started = time.monotonic()
        deadline = started + (self.timeout if timeout is None else timeout)
        while True:
            if self._generation != availability.generation:
                self._generation = availability.generation
                self.drain()
            connection = super().getconn(deadline - time.monotonic())
            if connection.opened_at >= started or _is_good(connection):
                return connection
            connection.close()
            self.putconn(connection)


def _is_good(connection: BoundedConnection) -> bool:
    # A session keeps what was the database's default when it began; it may be another one by now.
    if connection.is_read_only:
        return False
    if connection.is_fresh:
        return True
    try:
        connection.check()
    except OperationalError:
        return False
    return True


class DatabaseWrapper(base.DatabaseWrapper):
    """Only the web server pools; there alone one may be refused because another got no answer."""

    @property
    def pool(self) -> Any:
        options = self.settings_dict["OPTIONS"].get("pool")
        if options and self.alias not in self._connection_pools:  # type: ignore[attr-defined]
            made = Pool(
                connection_class=BoundedConnection,
                kwargs={**self.get_connection_params(), "autocommit": True},
                open=False,
                configure=self._configure_pooled,
                **options,
            )
            # Threads that come at once may each make one; the first stays, none was opened.
            self._connection_pools.setdefault(self.alias, made)  # type: ignore[attr-defined]
        return super().pool

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if self.pool:
            availability.enter()
        return super().get_new_connection(conn_params)

    def chunked_cursor(self) -> Any:
        """The server's, so that what is read is not in memory as a whole. A pooler keeps one for a transaction only."""
        if settings.DATABASE_TRANSACTION_POOLING and not self.in_atomic_block:
            return self.cursor()
        return super().chunked_cursor()

    def rollback(self) -> None:
        """One that succeeds is a sign of health to Django, but a session that is read-only rolls back too."""
        failed = self.errors_occurred
        super().rollback()
        self.errors_occurred = failed

    def close_if_unusable_or_obsolete(self) -> None:
        if self.errors_occurred and self.connection is not None and not self.in_atomic_block:
            self.close()
        super().close_if_unusable_or_obsolete()

    def _close(self) -> None:
        if self.pool and self.connection is not None and self.errors_occurred:
            self.connection.close()
        super()._close()  # type: ignore[misc]

    def _configure_pooled(self, connection: BoundedConnection) -> None:
        if settings.DATABASE_STATEMENT_TIMEOUT:
            connection.limit = settings.DATABASE_STATEMENT_TIMEOUT + GRACE_SECONDS
        self._configure_connection(connection)  # type: ignore[attr-defined]
