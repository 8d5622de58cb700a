"""Django's cache: Redis, and while Redis is away the memory of each process.

What counts guesses must go on counting. A process on its own lets through no more than its share of what all of them
together do when each counts alone: the limit times the number of processes, for as long as Redis is away.
"""

import logging
import time
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django_redis.cache import RedisCache
from redis.exceptions import RedisError

from core.log_lines import log_line

logger = logging.getLogger(__name__)
# A Redis that hangs costs a call its time-out of a second: so seldom that pages stay usable.
PAUSE_SECONDS = 5.0
# Some megabytes; a third of them goes when there are more.
_MOST_ENTRIES = 20_000
_NAME = "failover"


class _Redis:
    """What this process knows of it. Django makes a cache for each thread, and each request may have one of its own."""

    look_again_at = 0.0


_redis = _Redis()


def forget_failover() -> None:
    _redis.look_again_at = 0.0
    LocMemCache(_NAME, {}).clear()


class FailoverCache(RedisCache[Any]):  # type: ignore[misc] # django-redis has no types
    """The operations that the platform and its packages use; a call that fails is answered from memory."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._ignore_exceptions = False
        self._memory = LocMemCache(_NAME, {"OPTIONS": {"MAX_ENTRIES": _MOST_ENTRIES}})

    def get(self, key: str, default: Any = None, version: int | None = None, client: Any = None) -> Any:
        return self._call("get", key, default, version)

    def set(self, *args: Any, **kwargs: Any) -> Any:
        return self._call("set", *args, **kwargs)

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return self._call("add", *args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        return self._call("delete", *args, **kwargs)

    def incr(self, *args: Any, **kwargs: Any) -> Any:
        return self._call("incr", *args, **kwargs)

    def clear(self) -> Any:
        self._memory.clear()
        return self._call("clear")

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if time.monotonic() >= _redis.look_again_at:
            try:
                return getattr(super(), name)(*args, **kwargs)
            except (RedisError, OSError) as error:
                _redis.look_again_at = time.monotonic() + PAUSE_SECONDS
                log_line(
                    logger,
                    "the cache is in memory for a while, as Redis is away",
                    level=logging.WARNING,
                    error=type(error).__name__,
                )
        return getattr(self._memory, name)(*args, **kwargs)
