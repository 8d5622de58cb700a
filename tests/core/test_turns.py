"""Of the requests in Django one computes at a time: which one, and what becomes of one that does not end its turn."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connection

from core import bounds
from core.postgresql.connections import BoundedConnection
from core.postgresql.lending import give_back
from core.turns import FairTime, Turns
from tests.support.waiting import wait_until

LIGHT, HEAVY = "light", "heavy"


@pytest.fixture
def times() -> FairTime:
    return FairTime()


@pytest.fixture
def turns(times: FairTime) -> Turns:
    return Turns(times)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody loses a turn while a test runs."""
    monkeypatch.setattr(bounds, "TURN_SECONDS", 60.0)
    monkeypatch.setattr(bounds, "LONGEST_TURN_WAIT_SECONDS", 600.0)


class Requests:
    """In a thread each; they note when their turn comes."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.order: list[str] = []
        self._stack = ExitStack()
        self._pool = self._stack.enter_context(ThreadPoolExecutor(8))

    def close(self) -> None:
        self._stack.close()

    def start(self, owner: str) -> None:
        """Returns when it waits for its turn."""
        before = len(self.turns._waiting)
        self._pool.submit(self._compute, owner)
        wait_until(lambda: len(self.turns._waiting) > before)

    def _compute(self, owner: str) -> None:
        with self.turns.computing(owner):
            self.order.append(owner)


@pytest.fixture
def requests(turns: Turns) -> Any:
    made = Requests(turns)
    yield made
    made.close()


def test_whoever_has_computed_least_comes_next(turns: Turns, times: FairTime, requests: Requests) -> None:
    times.spend(HEAVY, 0.1)
    with turns.computing("first"):
        for owner in (HEAVY, HEAVY, LIGHT):
            requests.start(owner)
        assert requests.order == []
    wait_until(lambda: len(requests.order) == 3)
    assert requests.order == [LIGHT, HEAVY, HEAVY]


@pytest.fixture
def pooled(turns: Turns, monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Iterator[BoundedConnection]:
    """A connection of a web process, in which these are the turns."""
    for module in ("core.postgresql.connections", "core.postgresql.lending"):
        monkeypatch.setattr(f"{module}.turns", turns)
    with BoundedConnection.connect(**connection.get_connection_params(), autocommit=True) as made:
        yield made


def test_who_waits_for_postgresql_gives_its_turn_away(
    requests: Requests, turns: Turns, pooled: BoundedConnection
) -> None:
    with turns.computing("first"):
        requests.start(LIGHT)
        pooled.execute("SELECT 1")
        wait_until(lambda: requests.order == [LIGHT], seconds=20)


def test_who_waits_for_anything_slow_gives_its_turn_away(
    requests: Requests, turns: Turns, pooled: BoundedConnection
) -> None:
    with turns.computing("first"):
        requests.start(LIGHT)
        give_back()
        wait_until(lambda: requests.order == [LIGHT], seconds=20)


def test_what_postgresql_computes_is_charged(turns: Turns, pooled: BoundedConnection) -> None:
    with turns.computing("first") as turn:
        pooled.execute("SELECT pg_sleep(0.1)")
    assert turn.elsewhere >= 0.1 - bounds.FREE_STATEMENT_SECONDS


def test_who_waits_for_the_statements_of_others_is_not_charged_for_them(
    turns: Turns, pooled: BoundedConnection
) -> None:
    may_end = threading.Event()

    def ask(owner: str) -> None:
        with turns.computing(owner), turns.asking():
            may_end.wait(30)

    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(ask, HEAVY)
        wait_until(lambda: turns._asking[HEAVY] == 3)
        with turns.computing(LIGHT) as turn:
            pooled.execute("SELECT pg_sleep(0.4)")
        may_end.set()
    assert 0.09 < turn.elsewhere < 0.2
    assert not turns._asking


def test_who_does_not_end_its_turn_has_others_beside_it(
    requests: Requests, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "TURN_SECONDS", 0.01)
    with turns.computing("first"):
        threading.Thread(target=requests._compute, args=(LIGHT,)).start()
        wait_until(lambda: requests.order == [LIGHT])
        # What it gives away is no longer its own.
        with turns.asking():
            pass
    with turns.computing("next"):
        assert turns._waiting == []


def test_who_has_computed_little_does_not_wait_for_the_slice_of_one_that_has_computed_much(
    requests: Requests, turns: Turns, times: FairTime
) -> None:
    times.spend(HEAVY, 2 * bounds.FREE_TIME)
    with turns.computing(HEAVY):
        threading.Thread(target=requests._compute, args=(LIGHT,)).start()
        wait_until(lambda: requests.order == [LIGHT])


@pytest.mark.parametrize(
    ("free_seconds", "computed"), [(1.0, 2.0), (3_600.0, 60.0)], ids=["much-for-its-owner", "a-slice"]
)
def test_a_request_that_has_computed_much_before_gets_no_whole_slice_beside_one_that_has_not(
    requests: Requests, turns: Turns, monkeypatch: pytest.MonkeyPatch, free_seconds: float, computed: float
) -> None:
    """It is charged only when it ends, however often it has waited for PostgreSQL meanwhile."""
    monkeypatch.setattr(bounds, "TURN_SECONDS", 60.0)
    monkeypatch.setattr(bounds, "FREE_TIME", free_seconds)
    with turns.computing(HEAVY) as turn:
        turn.computed = computed
        threading.Thread(target=requests._compute, args=(LIGHT,)).start()
        wait_until(lambda: requests.order == [LIGHT])


def test_waiting_is_no_computing(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(turns, "_clock", lambda: now)
    with turns.computing("first") as turn:
        now = 1.0
        turns.pause()
        now = 5.0
        with turns.asking():
            now = 8.0
        now = 10.0
        turns.pause()
    assert turn.computed == 3.0


def test_who_has_waited_for_the_longest_time_goes_on(
    requests: Requests, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many come before it, each for a while."""
    monkeypatch.setattr(bounds, "LONGEST_TURN_WAIT_SECONDS", 0.0)
    held = turns.computing("first")
    with held:
        monkeypatch.setattr(bounds, "TURN_SECONDS", 0.01)
        monkeypatch.setattr(turns, "_pass_on", lambda: None)
        threading.Thread(target=requests._compute, args=(HEAVY,)).start()
        wait_until(lambda: requests.order == [HEAVY])
        assert turns._waiting == []


def test_threads_that_work_for_nobody_take_no_part(turns: Turns) -> None:
    def ask() -> None:
        turns.pause()
        with turns.asking():
            pass

    with turns.computing("first"), ThreadPoolExecutor(1) as pool:
        pool.submit(ask).result(10)


def test_what_another_thread_computes_is_charged(turns: Turns) -> None:
    with turns.computing("first") as turn:
        turns.charge(0.25)
        turns.charge(0.25)
    turns.charge(1.0)
    assert turn.elsewhere == 0.5
