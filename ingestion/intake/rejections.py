"""The newest rejections of each organization, for its live page: when, and with which code. Never what was sent.

They are noted in the process, written to Redis with the counts every few seconds, and forgotten an hour later. What is
lost on the way is lost: the counts are what one can rely on.
"""

import logging
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django_redis import get_redis_connection
from redis.exceptions import RedisError

from core.ports import Redis
from core.problems import PROBLEM_TYPES

logger = logging.getLogger(__name__)
# Of an organization; more cannot be read.
KEPT = 200
_SECONDS = 3600
_PUSH = """
redis.call('LPUSH', KEYS[1], unpack(ARGV, 3))
redis.call('LTRIM', KEYS[1], 0, ARGV[2] - 1)
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""

_noted: defaultdict[UUID, deque[str]] = defaultdict(lambda: deque(maxlen=KEPT))


@dataclass(frozen=True, kw_only=True)
class Rejection:
    moment: datetime
    code: str
    title: str


def note_rejection(organization_id: UUID, code: str) -> None:
    """Costs an accepted event nothing: only rejected ones come here."""
    _noted[organization_id].append(f"{time.time():.3f} {code}")


async def record_rejections(redis: Redis) -> None:
    """Write down what this process has noted. Never raises for a Redis that is away."""
    noted = dict(_noted)
    _noted.clear()
    try:
        for organization_id, lines in noted.items():
            await redis.evaluate(_PUSH, [_key(organization_id)], [_SECONDS, KEPT, *lines])
    except RedisError as error:
        logger.warning("rejections were not written: %s", type(error).__name__)


def newest_rejections(organization_id: UUID, *, limit: int) -> list[Rejection]:
    """Newest first; none when Redis is away. Processes write in turns, so a few may come late and stand lower."""
    try:
        lines = get_redis_connection("default").lrange(_key(organization_id), 0, KEPT - 1)
    except RedisError:
        return []
    found = sorted((_read(line.decode()) for line in lines), key=lambda each: each.moment, reverse=True)
    return found[:limit]


def forget_rejections() -> None:
    """Drop what this process noted, for tests."""
    _noted.clear()


def _key(organization_id: UUID) -> str:
    return f"rejections:{organization_id}"


def _read(line: str) -> Rejection:
    moment, _, code = line.partition(" ")
    kind = PROBLEM_TYPES.get(code)
    return Rejection(moment=datetime.fromtimestamp(float(moment), UTC), code=code, title=kind.title if kind else code)
