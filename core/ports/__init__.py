"""The ways out of the code that serves both doors: PostgreSQL and Redis, waited for or not.

What both doors share is written once, as coroutines over these protocols. The ASGI door passes ports that wait in the
event loop. The WSGI door passes the direct ports below, which never suspend, and runs the coroutine by `run_now`.
"""

import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from django.db import Error, connection, transaction
from django_redis import get_redis_connection

from core.postgresql.arrays import text_array

T = TypeVar("T")
Parameters = Mapping[str, Any] | Sequence[Any]


class Database(Protocol):
    """Runs one statement that is committed by itself; raises psycopg's errors."""

    async def fetch(self, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]: ...


class PatientDatabase(Database, Protocol):
    """Can wait before the same is tried again."""

    async def pause(self, seconds: float) -> None: ...


class KeyedDatabase(Database, Protocol):
    """Finds single rows too."""

    async def find(self, statement: str, key: str) -> tuple[Any, ...] | None:
        """One row by its key. `statement` selects the rows of `= ANY(%s::text[])`; the key is its first column."""
        ...


class Redis(Protocol):
    """Runs a Lua script atomically; raises `redis.exceptions.RedisError` when Redis is away."""

    async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any: ...


class SyncDatabase:
    """Django's own connection; a statement that fails leaves a transaction around it usable."""

    async def fetch(self, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return cursor.fetchall() if cursor.description else []
        except Error as error:
            raise error.__cause__ or error from None

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    async def find(self, statement: str, key: str) -> tuple[Any, ...] | None:
        rows = await self.fetch(statement, [text_array([key])])
        return rows[0] if rows else None


class SyncRedis:
    """The pool of django-redis."""

    async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
        return get_redis_connection("default").eval(script, len(keys), *keys, *arguments)


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, because its ports are direct ones; no event loop is needed."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine waits: it was given ports that are not direct")
