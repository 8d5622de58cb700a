"""When was a key last used? Noted in Redis, written to PostgreSQL in bulk once a minute. Losing a note is harmless."""

import logging
import time
from datetime import UTC, datetime
from uuid import UUID

from django_redis import get_redis_connection
from redis.exceptions import RedisError

from organizations.models import ApiKey

logger = logging.getLogger(__name__)
_NOTES = "key-last-used"


def note_use(key_id: UUID) -> None:
    """Called when a key is looked up (at most every 1.5 s in each process), not at each request."""
    try:
        get_redis_connection("default").hset(_NOTES, str(key_id), str(time.time()))
    except RedisError as error:
        logger.warning("the use of an API key was not noted: %s", error)


def record_key_use() -> int:
    """Write the notes to the keys' rows; returns how many there were."""
    redis = get_redis_connection("default")
    with redis.pipeline() as pipeline:
        pipeline.hgetall(_NOTES)
        pipeline.delete(_NOTES)
        notes: dict[bytes, bytes] = pipeline.execute()[0]
    used = {UUID(key.decode()): datetime.fromtimestamp(float(at), UTC) for key, at in notes.items()}
    keys = [ApiKey(pk=pk, last_used_at=at) for pk, at in sorted(used.items())]
    ApiKey.objects.bulk_update(keys, ["last_used_at"], batch_size=500)
    return len(keys)
