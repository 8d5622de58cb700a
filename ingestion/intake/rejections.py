"""The newest rejections of each organization, for people: what was wrong, with which key, and how the body began.

They are noted in the process, written to Redis with the counts every few seconds, and forgotten an hour later. What is
lost on the way is lost: the counts are what one can rely on.
"""

import logging
import time
from collections import defaultdict, deque
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from core.ports import Redis
from core.problems import PROBLEM_TYPES, Problem
from ingestion.formats.beginnings import MAX_BEGINNING, beginning_of

logger = logging.getLogger(__name__)
# Of an organization; more cannot be read.
KEPT = 100
# In a process between two times of writing; with KEPT of each, some five megabytes.
_MOST_ORGANIZATIONS = 50
_MAX_ERRORS = 5
_SECONDS = 3600
# Their requests were not looked at, so their bodies explain nothing.
_UNREAD = frozenset({401, 403, 429, 503})
_PUSH = """
redis.call('LPUSH', KEYS[1], unpack(ARGV, 3))
redis.call('LTRIM', KEYS[1], 0, ARGV[2] - 1)
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""


class Rejection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A refused event, or a refused request: then `index` is None, and `beginning` is of the request's body.

    `index` is the event's place in its batch; `errors` are the pointer and the sentence of what was wrong.
    """

    moment: datetime
    code: str
    detail: str
    request_id: str
    key_prefix: str
    type: str = ""
    index: int | None = None
    errors: list[tuple[str, str]] = []
    beginning: str = ""

    @property
    def title(self) -> str:
        """The code in words."""
        kind = PROBLEM_TYPES.get(self.code)
        return kind.title if kind else self.code


class _Noted(msgspec.Struct, frozen=True):
    moment: float
    problem: Problem
    request_id: str
    key_prefix: str
    type: str
    index: int | None
    body: bytes


_noted: defaultdict[UUID, deque[_Noted]] = defaultdict(lambda: deque(maxlen=KEPT))


def note_rejection(
    organization_id: UUID,
    problem: Problem,
    *,
    request_id: str,
    key_prefix: str,
    type: str = "",  # noqa: A002 - the event's
    index: int | None = None,
    body: bytes = b"",
) -> None:
    """Costs an accepted event nothing: only rejected ones come here. `body` is JSON, not compressed."""
    if organization_id not in _noted and len(_noted) >= _MOST_ORGANIZATIONS:
        return
    # One byte more shows that there was more.
    body = b"" if problem.status_code in _UNREAD else body[: MAX_BEGINNING + 1]
    _noted[organization_id].append(_Noted(time.time(), problem, request_id, key_prefix, type, index, body))


async def record_rejections(redis: Redis) -> None:
    """Write down what this process has noted. Never raises for a Redis that is away."""
    noted = dict(_noted)
    _noted.clear()
    try:
        for organization_id, rejections in noted.items():
            lines = [msgspec.json.encode(_told(each)).decode() for each in rejections]
            await redis.evaluate(_PUSH, [_key(organization_id)], [_SECONDS, KEPT, *lines])
    except RedisError as error:
        logger.warning("rejections were not written: %s", type(error).__name__)


def newest_rejections(organization_id: UUID, *, limit: int) -> list[Rejection]:
    """Newest first; none when Redis is away. Processes write in turns, so a few may come late and stand lower."""
    try:
        lines = get_redis_connection("default").lrange(_key(organization_id), 0, KEPT - 1)
    except RedisError:
        return []
    found = [msgspec.json.decode(line, type=Rejection) for line in lines]
    return sorted(found, key=lambda each: each.moment, reverse=True)[:limit]


def forget_rejections() -> None:
    """Drop what this process noted, for tests."""
    _noted.clear()


def _key(organization_id: UUID) -> str:
    return f"rejected:{organization_id}"


def _told(noted: _Noted) -> Rejection:
    problem = noted.problem
    return Rejection(
        moment=datetime.fromtimestamp(noted.moment, UTC),
        code=problem.problem_type.code,
        detail=problem.detail,
        request_id=noted.request_id,
        key_prefix=noted.key_prefix,
        type=noted.type,
        index=noted.index,
        errors=[(error.pointer, error.detail) for error in problem.errors[:_MAX_ERRORS]],
        beginning=beginning_of(noted.body),
    )
