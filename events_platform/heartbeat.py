"""Beat's sign of life: the time when it last handed a task to the broker, kept in Redis."""

import logging
import time
from typing import Any

from celery.signals import after_task_publish, beat_embedded_init, beat_init
from django_redis import get_redis_connection
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)
_KEY = "beat:heartbeat"
# Beat sends a task each second; a call of Redis for each of them would be more than anyone needs to know.
PAUSE_SECONDS = 5.0
# Later than this nobody says that beat runs.
LATE_SECONDS = 30.0
_written_at = float("-inf")


@beat_init.connect
@beat_embedded_init.connect
def _start(**_: Any) -> None:
    """Only in the process that is beat."""
    after_task_publish.connect(_beat, weak=False)


def _beat(**_: Any) -> None:
    global _written_at  # noqa: PLW0603 - the process has one
    now = time.monotonic()
    if now - _written_at < PAUSE_SECONDS:
        return
    _written_at = now
    try:
        get_redis_connection("default").set(_KEY, int(time.time()))
    except RedisError as error:
        logger.warning("beat's sign of life was not written: %s", type(error).__name__)


def last_beat() -> int | None:
    """Unix time; None when Redis knows of none. Raises RedisError."""
    value = get_redis_connection("default").get(_KEY)
    return None if value is None else int(value)
