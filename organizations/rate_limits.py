"""Events a minute for each organization, held across all processes.

Redis keeps one number for each organization: the events used in the window that its first event opened. A process
leases tokens from it and spends them without asking. A chunk starts at one token, so that a slow client reads exact
numbers, and grows while leases follow each other closely, so that a busy one costs few calls. What a process has not
spent when the window ends is lost to it, never carried over: too few events may pass, never too many.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge
from redis.exceptions import RedisError

from core.metrics import GatheredCounter
from core.problems import Problem

if TYPE_CHECKING:
    from core.ports import Redis
    from organizations.keys.authentication import Submitter

logger = logging.getLogger(__name__)

FAILED_OPEN = GatheredCounter(
    Counter("events_limiter_failed_open_requests", "Requests that passed unchecked because Redis was away.")
)
LEASES = Gauge(
    "events_limiter_leases",
    "Organizations whose window the web processes know; each process counts its own.",
    multiprocess_mode="livesum",
)

WINDOW_SECONDS = 60
# Leases that follow each other closer than this double the chunk.
CLOSE_SECONDS = 0.05
# The largest chunk is the limit divided by this: 200 tokens of a plan of 100 000, 2 of a plan of 1 000.
LARGEST_CHUNK_DIVISOR = 500
# After Redis failed, one request in this time tries it again; the others do not wait for it.
RETRY_SECONDS = 1.0
WARNING_SECONDS = 10.0
# About 300 bytes each: 15 MB at most. An organization that is dropped loses the few tokens of its lease.
REMEMBERED_ORGANIZATIONS = 50_000
# How often a request asks again after others were faster; more than two has not been seen.
ROUNDS = 8

# Takes `need` tokens or none. When there are, also what others of the process wait for (`firm`, with need), and on
# speculation up to `chunk`, but never more of that than a sixteenth of what is left: the last tokens of a window
# go out one by one, and are not stranded in a process that has no use for them.
# Answers used tokens, granted tokens, and the milliseconds until the window ends (negative: no window).
SCRIPT = """
local limit, need, firm = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local chunk, window = tonumber(ARGV[4]), tonumber(ARGV[5])
local ttl = redis.call('PTTL', KEYS[1])
local used = 0
if ttl >= 0 then used = tonumber(redis.call('GET', KEYS[1]) or 0) end
local left = limit - used
if need > left then return {used, 0, ttl} end
local granted = math.min(math.max(firm, math.min(chunk, math.floor(left / 16))), left)
if granted <= 0 then return {used, 0, ttl} end
if ttl < 0 then
  redis.call('SET', KEYS[1], granted, 'PX', window)
  return {granted, granted, window}
end
return {redis.call('INCRBY', KEYS[1], granted), granted, ttl}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Whether a request may pass, and what its answer says: tokens left, whole seconds until the window ends."""

    allowed: bool
    limit: int
    left: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers; `Retry-After` too on a refusal."""
        fields = {
            "RateLimit-Policy": f'"plan";q={self.limit};w={WINDOW_SECONDS}',
            "RateLimit": f'"plan";r={self.left};t={self.reset_seconds}',
        }
        if not self.allowed:
            fields["Retry-After"] = str(self.reset_seconds)
        return fields


def rate_limited(caller: Submitter, allowance: Allowance, cost: int) -> Problem:
    """The 429 for a request of `cost` events."""
    limit = caller.events_per_minute
    if cost > limit:
        detail = f"The limit is {limit} events a minute: a batch of {cost} can never pass. Send smaller batches."
    else:
        detail = f"The limit is {limit} events a minute; {allowance.left} of them are left, and this needs {cost}."
    return Problem("rate_limited", detail, headers=allowance.headers())


@dataclass(slots=True, kw_only=True)
class _Lease:
    """What a process knows of a window. Redis counts `tokens` as used; only this process may spend them."""

    limit: int = 0
    used: int = 0
    tokens: int = 0
    ends: float = 0.0
    chunk: int = 1
    leased_at: float = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """One call of the script. `at` is the local time before it."""

    at: float
    need: int
    firm: int
    chunk: int


class _Line:
    """The coroutines of one event loop that wait for tokens of one organization: one of them asks for all."""

    __slots__ = ("asking", "demand", "members")

    def __init__(self) -> None:
        self.asking: asyncio.Event | None = None
        self.demand = 0
        self.members = 0


class RateLimiter:
    """The leases of one process, shared by its threads and event loops.

    `clock` is monotonic, in seconds. The lock is never held while Redis is asked.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, window_seconds: float = WINDOW_SECONDS) -> None:
        # Requests that passed unchecked because Redis was away, since the process started.
        self.failed_open = 0
        self._clock = clock
        self._window = window_seconds
        self._lock = threading.Lock()
        self._lines: dict[tuple[asyncio.AbstractEventLoop, int], _Line] = {}
        self.forget()

    def forget(self) -> None:
        """Drop every lease, and what is known of Redis."""
        with self._lock:
            self._leases: OrderedDict[int, _Lease] = OrderedDict()
            self._failing = False
            self._open_until = self._warn_at = float("-inf")

    def take_locally(self, caller: Submitter, cost: int) -> Allowance | None:
        """The answer, if it needs no call of Redis: from the lease, or because the window is known to be used up."""
        limit = caller.events_per_minute
        with self._lock:
            now = self._clock()
            # The number, because a UUID hashes and compares in Python.
            lease = self._leases.get(caller.organization_id.int)
            if lease is not None and lease.ends > now and lease.limit == limit:
                missing = cost - lease.tokens
                if lease.used + (missing if missing > 0 else 0) > limit:
                    return _answer(lease, now, allowed=False)
                if missing <= 0:
                    lease.tokens -= cost
                    return _answer(lease, now, allowed=True)
            if limit == 0:
                return self._without_window(limit, allowed=cost == 0)
            if self._open_until > now:
                self._note_failed_open()
                return self._without_window(limit, allowed=True)
        return None

    async def take(self, redis: Redis, caller: Submitter, cost: int) -> Allowance:
        """Take `cost` tokens or none; when Redis is away, let the request pass."""
        allowance = self.take_locally(caller, cost)
        if allowance is not None:
            return allowance
        try:
            key = (asyncio.get_running_loop(), caller.organization_id.int)
        except RuntimeError:  # a thread of its own, whose port does not suspend
            return await self._ask(redis, caller, cost, demand=cost)
        line = self._lines.setdefault(key, _Line())
        line.demand += cost
        line.members += 1
        try:
            return await self._take_in_line(redis, caller, cost, line)
        finally:
            line.demand -= cost
            line.members -= 1
            if not line.members:
                del self._lines[key]

    async def peek(self, redis: Redis, caller: Submitter) -> Allowance:
        """What is left, for requests that cost nothing; always `allowed`."""
        limit = caller.events_per_minute
        with self._lock:
            now = self._clock()
            lease = self._leases.get(caller.organization_id.int)
            if lease is not None and lease.ends > now and lease.limit == limit and lease.used >= limit:
                return _answer(lease, now, allowed=True)
            if self._open_until > now:
                return self._without_window(limit, allowed=True)
        question = self._question(caller, cost=0, demand=0)
        try:
            allowance = self._settle(caller, 0, question, await self._evaluate(redis, caller, question))
        except RedisError as error:
            self._note_failure(error)
            allowance = None
        if allowance is None:
            return self._without_window(limit, allowed=True)
        return replace(allowance, allowed=True)

    async def _take_in_line(self, redis: Redis, caller: Submitter, cost: int, line: _Line) -> Allowance:
        """Wait while another coroutine asks for all that are in line, or ask for them."""
        for _ in range(ROUNDS):
            if line.asking is None:
                break
            await line.asking.wait()
            allowance = self.take_locally(caller, cost)
            if allowance is not None:
                return allowance
        asking = line.asking = asyncio.Event()
        try:
            return await self._ask(redis, caller, cost, demand=line.demand)
        finally:
            asking.set()
            if line.asking is asking:
                line.asking = None

    async def _ask(self, redis: Redis, caller: Submitter, cost: int, *, demand: int) -> Allowance:
        """Lease from Redis, for this request and for `demand` tokens in all."""
        for _ in range(ROUNDS):
            question = self._question(caller, cost=cost, demand=demand)
            try:
                reply = await self._evaluate(redis, caller, question)
            except RedisError as error:
                self._note_failure(error)
                with self._lock:
                    self._note_failed_open()
                return self._without_window(caller.events_per_minute, allowed=True)
            allowance = self._settle(caller, cost, question, reply)
            if allowance is not None:
                return allowance
        return replace(self._without_window(caller.events_per_minute, allowed=False), left=0, reset_seconds=1)

    def _question(self, caller: Submitter, *, cost: int, demand: int) -> _Question:
        now = self._clock()
        with self._lock:
            if self._failing:  # this request tries Redis; meanwhile the others pass without
                self._open_until = now + RETRY_SECONDS
            lease = self._leases.get(caller.organization_id.int) or _Lease()
            tokens = lease.tokens if lease.ends > now else 0
            need = max(cost - tokens, 0)
            if need == 0:
                return _Question(at=now, need=0, firm=0, chunk=0)
            close = now - lease.leased_at <= CLOSE_SECONDS
            largest = max(caller.events_per_minute // LARGEST_CHUNK_DIVISOR, 1)
            lease.chunk = min(lease.chunk * 2, largest) if close else 1
            return _Question(at=now, need=need, firm=max(demand - tokens, need), chunk=lease.chunk)

    async def _evaluate(self, redis: Redis, caller: Submitter, question: _Question) -> Sequence[int]:
        limit, window = caller.events_per_minute, int(self._window * 1000)
        arguments = [limit, question.need, question.firm, question.chunk, window]
        reply: Sequence[int] = await redis.evaluate(SCRIPT, [f"rate:{caller.organization_id}"], arguments)
        return reply

    def _settle(self, caller: Submitter, cost: int, question: _Question, reply: Sequence[int]) -> Allowance | None:
        """Put what was granted into the lease and serve the request from it; None: what it counted on is gone."""
        limit = caller.events_per_minute
        used, granted, milliseconds = reply
        with self._lock:
            self._failing, self._open_until = False, float("-inf")
            if milliseconds < 0:
                self._leases.pop(caller.organization_id.int, None)
                if 0 < cost <= limit:
                    return None
                return self._without_window(limit, allowed=cost == 0)
            now = self._clock()
            # Redis drops fractions of a millisecond, so the window may end one earlier than it says.
            lease = self._lease(caller, used, ends=question.at + (milliseconds - 1) / 1000, now=now)
            lease.limit = limit
            if granted:
                lease.tokens += granted
                lease.leased_at = now
            if granted < question.need or used > limit:
                return _answer(lease, now, allowed=False)
            if lease.tokens < cost:
                return None
            lease.tokens -= cost
            return _answer(lease, now, allowed=True)

    def _lease(self, caller: Submitter, used: int, *, ends: float, now: float) -> _Lease:
        """The lease of the window that an answer of Redis is about.

        `ends` is early, by the time that the call took. So two windows that have not ended by the local clock are the
        same one, and tokens never get from one window into the next.
        """
        if ends <= now:  # good for this request only
            return _Lease(used=used, ends=ends)
        organization = caller.organization_id.int
        lease = self._leases.get(organization)
        if lease is None:
            lease = self._leases[organization] = _Lease()
            if len(self._leases) > REMEMBERED_ORGANIZATIONS:
                self._leases.popitem(last=False)
            LEASES.set(len(self._leases))
        self._leases.move_to_end(organization)
        # Much later than it was (a quarter of a second of sixty): Redis has forgotten the window, and opened another.
        if lease.ends <= now or lease.ends < ends - self._window / 240:
            lease.used, lease.tokens, lease.ends = used, 0, ends
        else:
            lease.used, lease.ends = max(lease.used, used), min(lease.ends, ends)
        return lease

    def _note_failure(self, error: RedisError) -> None:
        now = self._clock()
        with self._lock:
            self._failing = True
            self._open_until = now + RETRY_SECONDS
            if warn := now >= self._warn_at:
                self._warn_at = now + WARNING_SECONDS
        if warn:
            logger.warning("Redis is away, rate limits are not enforced: %s", error)

    def _note_failed_open(self) -> None:
        self.failed_open += 1
        FAILED_OPEN.inc()

    def _without_window(self, limit: int, *, allowed: bool) -> Allowance:
        return Allowance(allowed=allowed, limit=limit, left=limit, reset_seconds=WINDOW_SECONDS)


def _answer(lease: _Lease, now: float, *, allowed: bool) -> Allowance:
    left = lease.limit - lease.used + lease.tokens if lease.used <= lease.limit else 0
    # Rounded up: who waits that long finds the window over.
    seconds = int(lease.ends - now) + 1 if lease.ends > now else 1
    return Allowance(allowed=allowed, limit=lease.limit, left=left, reset_seconds=seconds)


# The limiter of this process.
limiter = RateLimiter()


def forget_leases() -> None:
    """Drop what this process remembers, for tests."""
    limiter.forget()
