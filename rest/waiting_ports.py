"""The ports of the ASGI door: they wait in the event loop that made them, and hold no thread."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from redis.asyncio import Redis as RedisClient

from rest.ports import Parameters

CONNECT_SECONDS = 2
# Longer than any healthy statement of the intake; a server that hangs must not hold requests for longer.
STATEMENT_SECONDS = 5.0
# A connection that was idle for longer is tried first, so that a restart of the server costs no request.
_IDLE_SECONDS = 1.0


def conninfo() -> str:
    """libpq's connection string of Django's default database."""
    database = connections["default"].settings_dict
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    parts = {name: database[key] for name, key in names.items() if database.get(key)}
    options = {name: value for name, value in database["OPTIONS"].items() if name != "pool"}
    return make_conninfo(**{"connect_timeout": CONNECT_SECONDS, **options, **parts})


class PooledDatabase:
    """For the reads of many requests: a few connections, opened when they are first needed."""

    def __init__(self, *, size: int = 2) -> None:
        self._pool = AsyncConnectionPool(
            conninfo(),
            min_size=1,
            max_size=size,
            timeout=CONNECT_SECONDS,
            open=False,
            kwargs={"autocommit": True},
            reconnect_timeout=CONNECT_SECONDS,
        )
        self._opened = False

    async def fetch(self, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        if not self._opened:
            self._opened = True
            await self._pool.open()
        try:
            async with asyncio.timeout(STATEMENT_SECONDS), self._pool.connection() as connection:
                cursor = await connection.execute(statement, parameters)
                return await cursor.fetchall() if cursor.description else []
        except (PoolTimeout, TimeoutError) as error:
            raise psycopg.OperationalError("PostgreSQL does not answer") from error

    async def close(self) -> None:
        if self._opened:
            await self._pool.close()


class SingleDatabase:
    """One connection for one user at a time; opened when needed, dropped when broken, opened anew after that."""

    def __init__(self) -> None:
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._used_at = 0.0

    async def fetch(self, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        try:
            async with asyncio.timeout(STATEMENT_SECONDS):
                connection = await self._ready()
                cursor = await connection.execute(statement, parameters)
                self._used_at = time.monotonic()
                return await cursor.fetchall() if cursor.description else []
        except TimeoutError as error:
            await self.close()
            raise psycopg.OperationalError("PostgreSQL does not answer") from error

    async def _ready(self) -> psycopg.AsyncConnection[Any]:
        connection = self._connection
        if connection is not None and not connection.closed and time.monotonic() - self._used_at > _IDLE_SECONDS:
            try:
                await connection.execute("")
            except psycopg.OperationalError:
                await connection.close()
        if connection is None or connection.closed:
            connection = await psycopg.AsyncConnection.connect(conninfo(), autocommit=True)
            self._connection = connection
        return connection

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


class WaitingRedis:
    """A client of its own for the event loop, as impatient as the cache is."""

    def __init__(self) -> None:
        self._client: RedisClient = RedisClient.from_url(
            settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1, max_connections=32
        )

    async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
        return await self._client.eval(script, len(keys), *keys, *arguments)

    async def close(self) -> None:
        await self._client.aclose()
