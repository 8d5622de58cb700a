"""The ports of the ASGI door: they wait in the event loop that made them, and hold no thread."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import psycopg
from django.conf import settings
from django.db import connections
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from redis.asyncio import Redis as RedisClient
from redis.exceptions import NoScriptError

from rest.arrays import text_array
from rest.gathering import Gatherer
from rest.ports import Parameters

CONNECT_SECONDS = 2
# Longer than any healthy statement of the intake; a server that hangs must not hold requests for longer.
STATEMENT_SECONDS = 5.0
# A connection that was idle for longer is tried first, so that a restart of the server costs no request.
_IDLE_SECONDS = 1.0


def conninfo(**server_settings: str) -> str:
    """libpq's connection string of Django's default database; `server_settings` hold for the connection."""
    database = connections["default"].settings_dict
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    parts = {name: database[key] for name, key in names.items() if database.get(key)}
    options = {name: value for name, value in database["OPTIONS"].items() if name != "pool"}
    for name, value in server_settings.items():
        options["options"] = f"{options.get('options', '')} -c {name}={value}".strip()
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
        self._gatherers: dict[str, Gatherer[str, tuple[Any, ...] | None]] = {}

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

    async def find(self, statement: str, key: str) -> tuple[Any, ...] | None:
        """Keys that are looked for at once share a query."""
        if statement not in self._gatherers:
            self._gatherers[statement] = Gatherer(partial(self._find_all, statement))
        return await self._gatherers[statement].ask(key)

    async def _find_all(self, statement: str, keys: Sequence[str]) -> list[tuple[Any, ...] | None]:
        found = {row[0]: row for row in await self.fetch(statement, [text_array(keys)])}
        return [found.get(key) for key in keys]

    async def close(self) -> None:
        if self._opened:
            await self._pool.close()


class SingleDatabase:
    """One connection for one user at a time; opened when needed, dropped when broken, opened anew after that."""

    def __init__(self, **server_settings: str) -> None:
        self._server_settings = server_settings
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
            connection = await psycopg.AsyncConnection.connect(conninfo(**self._server_settings), autocommit=True)
            self._connection = connection
        return connection

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


class _Call(NamedTuple):
    script: str
    keys: Sequence[str]
    arguments: Sequence[int | str]


class WaitingRedis:
    """A client of its own for the event loop, as impatient as the cache is. Calls made at once share a round trip."""

    def __init__(self) -> None:
        self._client: RedisClient = RedisClient.from_url(
            settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1, max_connections=32
        )
        self._gatherer: Gatherer[_Call, Any] = Gatherer(self._evaluate_all)

    async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
        answer = await self._gatherer.ask(_Call(script, keys, arguments))
        if isinstance(answer, NoScriptError):  # the first time, or Redis has forgotten it
            return await self._client.eval(script, len(keys), *keys, *arguments)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _evaluate_all(self, calls: Sequence[_Call]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.evalsha(_digest(call.script), len(call.keys), *call.keys, *call.arguments)
            return await pipeline.execute(raise_on_error=False)

    async def close(self) -> None:
        await self._client.aclose()


@cache
def _digest(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
