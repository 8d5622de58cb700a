"""When retention last ran, and what left: told on the health page, and kept in Redis, where it may be lost."""

from datetime import datetime

import msgspec
from django_redis import get_redis_connection
from redis.exceptions import RedisError

_KEY = "retention:last-run"


class LastRun(msgspec.Struct, frozen=True, kw_only=True):
    """`removed`: how many rows or partitions left, by step; `is_over`: there was time for all of them."""

    at: datetime
    removed: dict[str, int]
    is_over: bool


def note_run(run: LastRun) -> None:
    """Never raises for a Redis that is away."""
    try:
        get_redis_connection("default").set(_KEY, msgspec.json.encode(run))
    except RedisError:
        return


def last_run() -> LastRun | None:
    """None when Redis is away, or knows of none."""
    try:
        text = get_redis_connection("default").get(_KEY)
    except RedisError:
        return None
    return msgspec.json.decode(text, type=LastRun) if text else None
