"""What waits in the whole platform, looked at once a minute by beat and kept for an hour in Redis, for sparklines.

A Redis that was emptied begins anew: the figures of this moment come from PostgreSQL.
"""

import time
from contextlib import closing

import msgspec
from redis.exceptions import RedisError

from observability.metrics.queries import due_backlog, inbox_backlog, outbox_backlog
from observability.signs_of_life import redis_client

MINUTES = 60
_KEY = "health:samples"
_SECONDS = 2 * 3600


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """`minute` is Unix time by 60. The counts go up to MOST_COUNTED; the ages are those of the oldest, in seconds."""

    minute: int
    outbox: int
    outbox_age: float
    sending: int
    sending_age: float
    inboxes: int
    inboxes_age: float


def look_now() -> Sample:
    """By three bounded queries, one more for each backlog that reaches its bound."""
    outbox, sending, inboxes = outbox_backlog(), due_backlog(), inbox_backlog()
    return Sample(
        minute=int(time.time() // 60),
        outbox=outbox[0],
        outbox_age=outbox[1],
        sending=sending[0],
        sending_age=sending[1],
        inboxes=inboxes[0],
        inboxes_age=inboxes[1],
    )


def take_sample() -> None:
    """Look, and keep it."""
    sample = look_now()
    with closing(redis_client()) as redis:
        redis.lpush(_KEY, msgspec.json.encode(sample))
        redis.ltrim(_KEY, 0, MINUTES - 1)
        redis.expire(_KEY, _SECONDS)


def read_samples() -> dict[int, Sample]:
    """By their minute; none when Redis is away."""
    try:
        with closing(redis_client()) as redis:
            lines = redis.lrange(_KEY, 0, MINUTES - 1)
    except RedisError:
        return {}
    samples = [msgspec.json.decode(line, type=Sample) for line in lines]
    return {sample.minute: sample for sample in samples}
