"""Rate limits: never more than the limit in a window over all processes, and few calls of Redis."""

import asyncio
import logging
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django_redis import get_redis_connection
from hypothesis import given
from hypothesis import strategies as st
from redis import asyncio as aioredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from uuid_utils.compat import uuid7

from core.ports import SyncRedis, run_now
from organizations import rate_limits
from organizations.keys.authentication import Caller
from organizations.middleware import RateLimitMiddleware
from organizations.rate_limits import SCRIPT, Allowance, RateLimiter, forget_leases, limiter, rate_limited
from tests.conftest import Tenant, make_tenant

# One of the four processes that share a plan. It goes on for a while after the first refusal.
HAMMER = """
import asyncio, sys, django
django.setup()
from tests.organizations.test_rate_limits import hammer
print("ready", flush=True)
sys.stdin.readline()
print(asyncio.run(hammer(sys.argv[1], int(sys.argv[2]))), flush=True)
"""


def caller(limit: int, organization: UUID | None = None) -> Caller:
    return Caller(
        key_id=uuid7(),
        key_label="test",
        organization_id=organization or uuid7(),
        scopes=frozenset(),
        events_per_minute=limit,
        expires_at=None,
    )


def with_limit(old: Caller, limit: int) -> Caller:
    return caller(limit, old.organization_id)


class Clock:
    """Seconds that move when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counting:
    """The real Redis; counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
        self.calls += 1
        return await SyncRedis().evaluate(script, keys, arguments)


class Away:
    """A Redis that does not answer."""

    def __init__(self) -> None:
        self.calls = 0

    async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
        self.calls += 1
        raise (RedisTimeoutError if self.calls % 2 else RedisConnectionError)("away")


class Waiting:
    """The real Redis through an event loop."""

    def __init__(self) -> None:
        self.calls = 0
        self.client = aioredis.Redis.from_url(settings.REDIS_URL)

    async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
        self.calls += 1
        return await self.client.eval(script, len(keys), *keys, *arguments)


class Simulated:
    """The script's rules in memory, on a clock of the test."""

    def __init__(self, clock: Clock, *, suspends: bool = False) -> None:
        self.clock = clock
        self.suspends = suspends
        self.used = self.window = 0
        self.ends = 0.0

    async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
        if self.suspends:
            await asyncio.sleep(0)
        reply = self.answer(*map(int, arguments))
        if self.suspends:
            await asyncio.sleep(0)
        return reply

    def answer(self, limit: int, need: int, firm: int, chunk: int, window: int) -> tuple[int, int, int]:
        alive = self.clock.now < self.ends
        used = self.used if alive else 0
        left = limit - used
        remaining = int((self.ends - self.clock.now) * 1000) if alive else -2
        granted = 0 if need > left else min(max(firm, min(chunk, left // 16)), left)
        if granted <= 0:
            return used, 0, remaining
        if not alive:
            self.ends, self.window, remaining = self.clock.now + window / 1000, self.window + 1, window
        self.used = used + granted
        return self.used, granted, remaining


def take(own: RateLimiter, who: Caller, cost: int = 1, redis: Any = None) -> Allowance:
    return run_now(own.take(redis or SyncRedis(), who, cost))


def peek(own: RateLimiter, who: Caller, redis: Any = None) -> Allowance:
    return run_now(own.peek(redis or SyncRedis(), who))


def end_window(who: Caller) -> None:
    """What the time does in Redis after a minute."""
    assert get_redis_connection("default").delete(f"rate:{who.organization_id}") == 1


async def hammer(organization: str, limit: int) -> int:
    own, redis, who = RateLimiter(), Waiting(), caller(limit, UUID(organization))

    async def client() -> int:
        return sum([(await own.take(redis, who, 1)).allowed for _ in range(limit)])

    admitted = sum(await asyncio.gather(*(client() for _ in range(16))))
    await redis.client.aclose()
    return admitted


@pytest.mark.slow
def test_four_processes_share_a_plan() -> None:
    """Pro: 1 000 a minute, 64 clients in four processes; no event too many, and hardly one too few."""
    organization = str(uuid7())
    command = [sys.executable, "-c", HAMMER, organization, "1000"]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "events_platform.settings"}
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True, cwd=settings.BASE_DIR)
        for _ in range(4)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        admitted = [int(process.communicate(timeout=60)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert 990 <= sum(admitted) <= 1000
    assert 0 < get_redis_connection("default").pttl(f"rate:{organization}") <= 60_000


def test_a_slow_client_reads_exact_numbers() -> None:
    clock, who = Clock(), caller(100)
    slow = RateLimiter(clock=clock)
    for left in range(99, -1, -1):
        clock.now += 0.1
        allowance = take(slow, who)
        assert (allowance.allowed, allowance.limit, allowance.left) == (True, 100, left)
        assert peek(RateLimiter(), who).left == left
    refused = take(slow, who)
    assert (refused.allowed, refused.left) == (False, 0)


def test_the_header_fields_are_those_of_the_draft() -> None:
    passed = Allowance(allowed=True, limit=100, left=99, reset_seconds=60)
    assert passed.headers() == {"RateLimit-Policy": '"plan";q=100;w=60', "RateLimit": '"plan";r=99;t=60'}
    refused = Allowance(allowed=False, limit=100, left=0, reset_seconds=7)
    assert refused.headers()["Retry-After"] == "7"


def test_the_seconds_run_down_to_the_end_of_the_window() -> None:
    clock, who = Clock(), caller(100)
    own, redis = RateLimiter(clock=clock), Simulated(clock)
    assert peek(own, who, redis).reset_seconds == 60
    assert take(own, who, 1, redis).reset_seconds == 60
    clock.now += 30
    assert take(own, who, 99, redis).reset_seconds == 30
    clock.now += 29.5
    assert take(own, who, 1, redis).headers()["Retry-After"] == "1"
    clock.now += 0.5
    assert take(own, who, 1, redis).left == 99


def test_a_batch_takes_all_or_nothing() -> None:
    own, who = RateLimiter(), caller(100)
    assert take(own, who, 60).left == 40
    refused = take(own, who, 41)
    assert (refused.allowed, refused.left) == (False, 40)
    assert take(own, who, 40).allowed
    assert not take(own, who, 1).allowed


def test_a_batch_uses_up_the_tokens_of_the_lease() -> None:
    """Busy enough to hold spare tokens: the last batch gets these and the rest from Redis."""
    own, who = RateLimiter(clock=Clock()), caller(1000)
    for _ in range(6):
        left = take(own, who).left
    assert get_redis_connection("default").get(f"rate:{who.organization_id}") == b"7"
    assert left == 994
    assert take(own, who, 994).left == 0


def test_a_refusal_explains_itself() -> None:
    own, who = RateLimiter(), caller(100)
    assert take(own, who, 80).allowed
    refused = take(own, who, 30)
    problem = rate_limited(who, refused, 30)
    assert (problem.status_code, problem.problem_type.code) == (429, "rate_limited")
    assert problem.headers == refused.headers()
    assert "100 events a minute; 20 of them are left, and this needs 30" in str(problem.detail)
    never = rate_limited(who, take(own, who, 101), 101)
    assert "can never pass" in str(never.detail)


def test_a_new_window_restores_the_plan() -> None:
    own, who = RateLimiter(), caller(10)
    assert take(own, who, 10).allowed
    assert not take(own, who).allowed
    end_window(who)
    own.forget()
    assert take(own, who).left == 9


def test_a_window_is_anchored_at_its_first_event() -> None:
    redis, who = get_redis_connection("default"), caller(10)
    key = f"rate:{who.organization_id}"
    own = RateLimiter()
    assert peek(own, who).left == 10
    assert redis.exists(key) == 0
    take(own, who)
    redis.pexpire(key, 20_000)
    assert take(own, who).reset_seconds == 20
    assert 0 < redis.pttl(key) <= 20_000


def test_a_used_up_window_costs_no_calls() -> None:
    own, redis, who = RateLimiter(), Counting(), caller(10)
    assert take(own, who, 8, redis).allowed
    assert not take(own, who, 5, redis).allowed
    assert take(own, who, 2, redis).allowed
    calls = redis.calls
    assert not any(take(own, who, 1, redis).allowed for _ in range(1000))
    assert peek(own, who, redis).left == 0
    assert redis.calls == calls


def test_a_limit_of_zero_lets_nothing_through() -> None:
    own, redis, who = RateLimiter(), Counting(), caller(0)
    assert not take(own, who, 1, redis).allowed
    assert redis.calls == 0
    assert peek(own, who, redis).headers()["RateLimit"] == '"plan";r=0;t=60'


def test_a_changed_limit_counts_at_once() -> None:
    own, who = RateLimiter(), caller(100)
    assert take(own, who, 50).left == 50
    assert take(own, with_limit(who, 200)).left == 149
    lowered = take(own, with_limit(who, 20))
    assert (lowered.allowed, lowered.limit, lowered.left) == (False, 20, 0)
    for process in (own, RateLimiter()):
        peeked = peek(process, with_limit(who, 20))
        assert (peeked.allowed, peeked.left) == (True, 0)
    assert take(own, who).left == 48


def test_a_lowered_limit_holds_for_spare_tokens_too() -> None:
    """Four events at once lease 1, 2 and 4 tokens: 3 are spare."""
    own, redis, who = RateLimiter(clock=Clock()), Counting(), caller(10_000)
    for _ in range(4):
        take(own, who, 1, redis)
    lowered = take(own, with_limit(who, 6), 1, redis)
    assert (lowered.allowed, lowered.left) == (False, 0)
    assert take(own, who, 1, redis).left == 9995
    assert take(own, who, 2, redis).allowed
    assert redis.calls == 5


def test_redis_away_lets_requests_pass_visibly_and_fast(caplog: pytest.LogCaptureFixture) -> None:
    clock, redis, who = Clock(), Away(), caller(100)
    own = RateLimiter(clock=clock)
    with caplog.at_level(logging.WARNING, "organizations.rate_limits"):
        for _ in range(300):
            allowance = take(own, who, 1, redis)
            assert (allowance.allowed, allowance.left, allowance.reset_seconds) == (True, 100, 60)
        assert peek(own, caller(5), redis).left == 5
        assert (own.failed_open, redis.calls, len(caplog.records)) == (300, 1, 1)
        for _ in range(4):
            clock.now += rate_limits.RETRY_SECONDS
            take(own, who, 1, redis)
            take(own, caller(5), 1, redis)
        assert (own.failed_open, redis.calls, len(caplog.records)) == (308, 5, 1)
        clock.now += rate_limits.WARNING_SECONDS
        peek(own, who, redis)
    assert len(caplog.records) == 2
    assert "rate limits are not enforced: away" in caplog.text
    clock.now += rate_limits.RETRY_SECONDS
    assert take(own, who).left == 99
    assert take(own, who, 99).allowed
    assert not take(own, who).allowed


def test_while_one_request_tries_redis_again_the_others_do_not_wait() -> None:
    clock, who = Clock(), caller(100)
    own = RateLimiter(clock=clock)
    take(own, who, 1, Away())
    clock.now += rate_limits.RETRY_SECONDS
    seen: list[Allowance | None] = []

    class Hanging:
        async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
            seen.append(own.take_locally(who, 1))
            raise RedisTimeoutError("away")

    assert take(own, who, 1, Hanging()).allowed
    assert seen[0] is not None
    assert seen[0].allowed


def test_a_used_up_window_stays_so_while_redis_is_away() -> None:
    own, who = RateLimiter(), caller(10)
    take(own, who, 10)
    take(own, caller(10), 1, Away())
    assert not take(own, who, 1, Away()).allowed


def test_chunks_grow_with_the_rate_and_fall_back() -> None:
    clock, who = Clock(), caller(100_000)
    own, redis = RateLimiter(clock=clock), Simulated(clock)
    sizes: list[int] = []
    while len(sizes) < 10:
        before = redis.used
        take(own, who, 1, redis)
        if redis.used > before:
            sizes.append(redis.used - before)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 128, 200, 200]
    while own.take_locally(who, 1):
        pass
    clock.now += rate_limits.CLOSE_SECONDS * 2
    before = redis.used
    take(own, who, 1, redis)
    assert redis.used - before == 1


def test_the_last_tokens_go_out_one_by_one() -> None:
    clock, who = Clock(), caller(100_000)
    own, redis = RateLimiter(clock=clock), Simulated(clock)
    for _ in range(1000):
        take(own, who, 1, redis)
    assert take(RateLimiter(clock=clock), who, 100_000 - redis.used - 31, redis).allowed
    while own.take_locally(who, 1):
        pass
    before = redis.used
    take(own, who, 1, redis)
    assert redis.used - before == 1


def test_a_busy_plan_costs_few_calls() -> None:
    own, redis, who = RateLimiter(clock=Clock()), Counting(), caller(100_000)
    assert all(take(own, who, 1, redis).allowed for _ in range(10_000))
    assert redis.calls < 100


def test_coroutines_ask_together() -> None:
    """128 requests at once on the smallest plan, whose chunk is one token: the second call asks for all that wait."""

    async def burst() -> tuple[list[bool], int]:
        own, redis, who = RateLimiter(), Waiting(), caller(100)
        taken = await asyncio.gather(*(own.take(redis, who, 1) for _ in range(128)))
        assert own._lines == {}
        await redis.client.aclose()
        return [allowance.allowed for allowance in taken], redis.calls

    allowed, calls = asyncio.run(burst())
    assert allowed.count(True) == 100
    assert calls < 10


def test_a_cancelled_request_does_not_hold_up_those_behind_it() -> None:
    async def scene() -> list[Any]:
        own, redis, who = RateLimiter(), Waiting(), caller(100)
        tasks = [asyncio.create_task(own.take(redis, who, 1)) for _ in range(10)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[5].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert own._lines == {}
        await redis.client.aclose()
        return outcomes

    outcomes = asyncio.run(scene())
    assert [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, Allowance)] == [0, 5]


def test_two_threads_never_hand_out_a_token_twice() -> None:
    own, who, admitted = RateLimiter(), caller(3000), []
    start = threading.Barrier(2)

    def client() -> None:
        start.wait()
        admitted.append(sum(take(own, who).allowed for _ in range(2500)))
        get_redis_connection("default").close()

    threads = [threading.Thread(target=client) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 3000


def test_short_windows_follow_each_other_under_load() -> None:
    """Real time, real Redis: what six threads of three processes get stays within the windows that Redis opened."""
    who, limit, opened, admitted = caller(500), 500, [0], [0]
    lock = threading.Lock()

    class Watching:
        async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
            used, granted, milliseconds = await SyncRedis().evaluate(script, keys, arguments)
            with lock:
                opened[0] += 0 < granted == used
            return used, granted, milliseconds

    def client(own: RateLimiter) -> None:
        while opened[0] < 12:
            cost = 1 + opened[0] % 3
            if take(own, who, cost, Watching()).allowed:
                with lock:
                    admitted[0] += cost
        get_redis_connection("default").close()

    processes = [RateLimiter(window_seconds=0.05) for _ in range(3)]
    threads = [threading.Thread(target=client, args=[processes[number % 3]]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < admitted[0] <= opened[0] * limit


@given(
    limit=st.integers(1, 2000),
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 40), st.sampled_from([0, 0, 0, 0.001, 0.03, 0.2, 20, 31.7])),
        max_size=150,
    ),
)
def test_no_window_admits_more_than_the_limit(limit: int, steps: list[tuple[int, int, float]]) -> None:
    clock, who = Clock(), caller(limit)
    redis = Simulated(clock)
    processes = [RateLimiter(clock=clock) for _ in range(3)]
    admitted: dict[int, int] = {}
    for number, cost, seconds in steps:
        clock.now += seconds
        if take(processes[number], who, cost, redis).allowed:
            assert clock.now < redis.ends
            admitted[redis.window] = admitted.get(redis.window, 0) + cost
    assert all(sum_of_window <= limit for sum_of_window in admitted.values())


@given(limit=st.integers(1, 2000), seed=st.integers(0, 2**32), largest=st.integers(1, 30))
def test_no_order_of_coroutines_admits_more_than_the_limit(limit: int, seed: int, largest: int) -> None:
    """Three processes of 20 clients each, whose calls overlap; costs that do not fit leave room for smaller ones."""
    chance, clock, who = random.Random(seed), Clock(), caller(limit)
    redis = Simulated(clock, suspends=True)

    async def client(own: RateLimiter) -> int:
        admitted = 0
        for _ in range(10):
            cost = chance.randint(1, largest)
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            admitted += cost * (await own.take(redis, who, cost)).allowed
        return admitted

    async def scene() -> int:
        processes = [RateLimiter(clock=clock) for _ in range(3)]
        return sum(await asyncio.gather(*(client(processes[number % 3]) for number in range(60))))

    assert asyncio.run(scene()) <= limit


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 40), st.integers(0, 40), st.integers(0, 20)), max_size=30
    )
)
def test_the_simulated_script_answers_as_the_real_one(steps: list[tuple[int, int, int, int]]) -> None:
    simulated, key = Simulated(Clock()), f"rate:{uuid7()}"
    for limit, need, more, chunk in steps:
        arguments = (limit, need, need + more, chunk, 60_000)
        used, granted, milliseconds = run_now(SyncRedis().evaluate(SCRIPT, [key], arguments))
        expected = simulated.answer(*arguments)
        assert (used, granted, milliseconds < 0) == (expected[0], expected[1], expected[2] < 0)


def test_an_answer_of_the_window_before_changes_nothing_in_the_next() -> None:
    clock, who = Clock(), caller(1000)
    own, redis = RateLimiter(clock=clock), Simulated(clock)

    class Slow:
        async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
            late = await redis.evaluate(script, keys, arguments)
            clock.now += 60
            for _ in range(6):
                take(own, who, 1, redis)
            return late

    assert take(own, who, 1000, Slow()).allowed
    spare = own.take_locally(who, 1)
    assert spare is not None
    assert (spare.allowed, spare.left) == (True, 993)
    assert not take(own, who, 994, redis).allowed


@pytest.mark.parametrize(
    ("starts", "before", "after", "needs"),
    [(59.9, 0.11, 0.09, [9, 1]), (0.1, 59.91, 0.03, [9, 1, 8]), (59.9, 30, 30, [9, 10])],
)
def test_spare_tokens_end_with_their_window(starts: float, before: float, after: float, needs: list[int]) -> None:
    """A batch counts on a spare token of the lease, but the window ends while Redis is asked: it asks again.

    After a call of a minute it does not trust its own idea of the end, and drops tokens rather than use them twice.
    """
    clock, who = Clock(), caller(1000)
    own, redis = RateLimiter(clock=clock), Simulated(clock)
    for _ in range(6):
        take(own, who, 1, redis)
    clock.now += starts
    asked: list[int | str] = []

    class Slow:
        async def evaluate(self, script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> Any:
            asked.append(arguments[1])
            clock.now += before if len(asked) == 1 else 0
            reply = await redis.evaluate(script, keys, arguments)
            clock.now += after if len(asked) == 1 else 0
            return reply

    assert take(own, who, 10, Slow()).allowed
    assert asked == needs


def test_a_flushed_redis_starts_a_new_window() -> None:
    clock, who = Clock(), caller(100)
    own, redis = RateLimiter(clock=clock), Simulated(clock)
    take(own, who, 60, redis)
    clock.now += 10
    redis.ends = 0
    assert take(own, who, 1, redis).left == 99


def test_spare_tokens_of_a_flushed_redis_are_no_answer_to_a_new_limit() -> None:
    clock, who = Clock(), caller(1000)
    own, redis = RateLimiter(clock=clock), Simulated(clock)
    for _ in range(6):
        take(own, who, 1, redis)
    redis.ends = 0
    assert take(own, with_limit(who, 2000), 1, redis).left == 1999


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "REMEMBERED_ORGANIZATIONS", 3)
    own, callers = RateLimiter(), [caller(10) for _ in range(5)]
    for who in callers:
        take(own, who)
    assert len(own._leases) == 3
    assert take(own, callers[0]).left == 8


def answered(view: Callable[[HttpRequest], HttpResponse], path: str = "/api/v1/x", **attributes: Any) -> HttpResponse:
    request = RequestFactory().get(path)
    vars(request).update(attributes)
    return RateLimitMiddleware(view)(request)


def test_the_middleware_tells_what_was_taken() -> None:
    taken = Allowance(allowed=False, limit=10, left=3, reset_seconds=9)
    answer = answered(lambda _: HttpResponse(status=429), rate_limit=taken, caller=caller(10))
    assert answer["RateLimit-Policy"] == '"plan";q=10;w=60'
    assert (answer["RateLimit"], answer["Retry-After"]) == ('"plan";r=3;t=9', "9")


def test_the_middleware_tells_what_is_left_and_takes_nothing() -> None:
    forget_leases()
    who = caller(10)
    take(limiter, who)
    for _ in range(2):
        answer = answered(lambda _: HttpResponse(status=404), caller=who)
        assert answer["RateLimit"].startswith('"plan";r=9;t=')
        assert "Retry-After" not in answer
    for _ in range(9):
        take(limiter, who)
    answer = answered(lambda _: HttpResponse(), caller=who)
    assert answer["RateLimit"].startswith('"plan";r=0;t=')
    assert "Retry-After" not in answer


def test_other_answers_have_no_rate_limit_fields() -> None:
    assert "RateLimit" not in answered(lambda _: HttpResponse())
    assert "RateLimit" not in answered(lambda _: HttpResponse(), "/console/", caller=caller(10))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/organization", 200),
        ("GET", "/api/v1/events", 200),
        ("GET", "/api/v1/api-keys", 200),
        ("PUT", "/api/v1/organization", 405),
        ("POST", "/api/v1/api-keys", 403),
        ("GET", "/api/v1/events/01900000-0000-7000-8000-000000000000", 404),
    ],
)
def test_every_authenticated_answer_has_the_fields(db: None, method: str, path: str, status: int) -> None:
    reader = make_tenant(scopes=["events:read"] if status == 403 else ["events:read", "keys:manage"])
    answer = reader.request(method, path)
    assert answer.status_code == status
    assert answer["RateLimit-Policy"] == '"plan";q=100;w=60'
    assert answer["RateLimit"] == '"plan";r=100;t=60'


def test_an_unauthenticated_answer_has_none(tenant: Tenant) -> None:
    answer = tenant.get("/api/v1/organization", Authorization="Bearer evp_live_x")
    assert answer.status_code == 401
    assert "RateLimit" not in answer
