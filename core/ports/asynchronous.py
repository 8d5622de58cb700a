"""The ports of the ASGI door: they wait in the event loop that made them, and hold no thread."""

import asyncio
import hashlib
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import psycopg
from django.conf import settings
from django.db import connections
from psycopg.conninfo import make_conninfo
from redis.asyncio import Redis as RedisClient
from redis.exceptions import NoScriptError

from core.ports import Parameters
from core.ports.batcher import Batcher
from core.postgresql.arrays import text_array
from core.postgresql.availability import availability
from core.postgresql.connections import WaitingConnection

# Longer than any healthy statement of the intake; a server that hangs must not hold requests for longer.
STATEMENT_SECONDS = 5.0
# PostgreSQL itself gives up first: what was refused must not be committed later, when a lock is free.
_SERVER_SETTINGS = {"statement_timeout": "4500ms"}


def conninfo(**server_settings: str) -> str:
    """libpq's connection string of Django's default database; `server_settings` hold for the connection.

    Behind a pooler they cannot: there they are set in each transaction.
    """
    database = connections["default"].settings_dict
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    parts = {name: database[key] for name, key in names.items() if database.get(key)}
    options = {name: value for name, value in database["OPTIONS"].items() if name != "pool"}
    if not settings.DATABASE_TRANSACTION_POOLING:
        wanted = [f"-c {name}={value}" for name, value in server_settings.items()]
        options["options"] = " ".join(filter(None, [options.get("options"), *wanted]))
    return make_conninfo(**{**options, **parts})


class SingleDatabase:
    """One connection; opened when needed, dropped when a statement fails, opened anew then. Its users take turns."""

    def __init__(self, **server_settings: str) -> None:
        given = settings.DATABASE_SESSION_OPTIONS
        limits = {name: value for name, value in _SERVER_SETTINGS.items() if name not in given}
        self._server_settings = {**limits, **server_settings}
        self._connection: WaitingConnection | None = None
        self._turn = asyncio.Lock()

    async def fetch(self, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        async with self._turn:
            return await self._fetch(statement, parameters)

    async def _fetch(self, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        try:
            connection = await self._ready()
            if settings.DATABASE_TRANSACTION_POOLING:
                return await self._fetch_in_transaction(connection, statement, parameters)
            return await _rows(await connection.execute(statement, parameters))
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded):
            raise
        except BaseException:
            # It may be broken, or have kept what was wrong, such as being read-only.
            await self.close()
            raise

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _ready(self) -> WaitingConnection:
        connection = self._connection
        if connection is not None and not connection.closed and not connection.is_fresh:
            await _replace_if_dead(connection)
        if connection is None or connection.closed:
            connection = await WaitingConnection.connect(
                conninfo(**self._server_settings),
                autocommit=True,
                prepare_threshold=None if settings.DATABASE_TRANSACTION_POOLING else 5,
            )
            connection.limit = STATEMENT_SECONDS
            self._connection = connection
        return connection

    async def _fetch_in_transaction(
        self, connection: WaitingConnection, statement: str, parameters: Parameters
    ) -> list[tuple[Any, ...]]:
        """One round trip all the same: the pipeline sends everything at once."""
        async with connection.pipeline(), connection.transaction():
            for name, value in self._server_settings.items():
                await connection.execute("SELECT set_config(%s, %s, true)", [name, value])
            cursor = await connection.execute(statement, parameters)
        return await _rows(cursor)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


class GatedDatabase(SingleDatabase):
    """Refuses at once while PostgreSQL does not answer others in this process."""

    async def fetch(self, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        availability.enter()
        return await super().fetch(statement, parameters)


async def _replace_if_dead(connection: WaitingConnection) -> None:
    """Closes it when PostgreSQL was lost since it was opened, or does not answer on it."""
    if connection.is_suspect:
        await connection.close()
        return
    try:
        await connection.check()
    except psycopg.OperationalError:
        await connection.close()


async def _rows(cursor: psycopg.AsyncCursor[Any]) -> list[tuple[Any, ...]]:
    return await cursor.fetchall() if cursor.description else []


class PooledDatabase:
    """For the reads of many requests: a few connections, opened when they are first needed."""

    def __init__(self, *, size: int = 2) -> None:
        self._all = [GatedDatabase() for _ in range(size)]
        self._idle = list(self._all)
        self._free = asyncio.Semaphore(size)
        self._batchers: dict[str, Batcher[str, tuple[Any, ...] | None]] = {}

    async def fetch(self, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        async with self._free:
            # The one that was used last, whose connection is most likely open.
            database = self._idle.pop()
            try:
                return await database.fetch(statement, parameters)
            finally:
                self._idle.append(database)

    async def find(self, statement: str, key: str) -> tuple[Any, ...] | None:
        """Keys that are looked for at once share a query."""
        if statement not in self._batchers:
            self._batchers[statement] = Batcher(partial(self._find_all, statement))
        return await self._batchers[statement].ask(key)

    async def _find_all(self, statement: str, keys: Sequence[str]) -> list[tuple[Any, ...] | None]:
        found = {row[0]: row for row in await self.fetch(statement, [text_array(keys)])}
        return [found.get(key) for key in keys]

    async def close(self) -> None:
        for database in self._all:
            await database.close()


class _Call(NamedTuple):
    script: str
    keys: Sequence[str]
    arguments: Sequence[int | str]


class AsyncRedis:
    """A client of its own for the event loop, as impatient as the cache is. Calls made at once share a round trip."""

    def __init__(self) -> None:
        self._client: RedisClient = RedisClient.from_url(
            settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1, max_connections=32
        )
        self._batcher: Batcher[_Call, Any] = Batcher(self._evaluate_all)

    async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
        answer = await self._batcher.ask(_Call(script, keys, arguments))
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
