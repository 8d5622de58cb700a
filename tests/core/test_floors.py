"""Searches of a queue pass what is dead only now and then, when that takes long; nothing is lost to them."""

from datetime import UTC, datetime, timedelta

import pytest

from core.postgresql import floors as module
from core.postgresql.floors import BEGINNING, SLACK, Floors

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock:
    """Takes the place of the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def search(floors: Floors[str], clock: Clock, seconds: float, **oldest: datetime) -> datetime:
    """Where it began in the queue `a`."""
    floors.begin()
    began = floors.of("a")
    clock.now += seconds
    floors.end(oldest)
    return began


def test_quick_searches_go_from_the_beginning(clock: Clock) -> None:
    floors: Floors[str] = Floors()
    assert [search(floors, clock, 0.01, a=NOON) for _ in range(3)] == [BEGINNING] * 3
    assert floors.is_whole


def test_after_a_long_one_others_begin_below_what_it_found_until_it_is_time_for_another(clock: Clock) -> None:
    floors: Floors[str] = Floors()
    search(floors, clock, 1.0, a=NOON)
    assert search(floors, clock, 1.0) == NOON - SLACK
    assert not floors.is_whole
    assert search(floors, clock, 1.0, a=NOON + timedelta(hours=1)) == NOON - SLACK
    assert search(floors, clock, 1.0) == NOON + timedelta(hours=1) - SLACK
    clock.now += 20
    assert search(floors, clock, 0.01) == BEGINNING
    assert search(floors, clock, 0.01) == BEGINNING, "it is quick again"


def test_each_queue_has_its_own_and_they_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_KEYS", 2)
    floors: Floors[str] = Floors()
    search(floors, clock, 1.0, b=NOON, c=NOON)
    assert search(floors, clock, 1.0) == BEGINNING, "nothing was found of it"
    search(floors, clock, 1.0, d=NOON)
    floors.begin()
    assert [floors.of(key) for key in "bcd"] == [BEGINNING, BEGINNING, NOON - SLACK]
