"""Wake-ups: at once when nothing has happened for a while, seldom when much does."""

import time

import pytest

from core.broker import wakeup
from core.broker.wakeup import LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS, Waker, pause_for
from tests.support.waiting import wait_until


def test_a_pause_grows_with_what_is_asked_for_within_bounds() -> None:
    pauses = [pause_for(rate) for rate in (0, 16, 30, 60, 120, 200, 100_000)]
    assert pauses == sorted(pauses)
    assert (
        pauses[0] == pauses[1] == SHORTEST_PAUSE_SECONDS < pauses[3] < pauses[4] < pauses[-1] == LONGEST_PAUSE_SECONDS
    )


class _Listed(Waker):
    """Its wake-ups are only written down."""

    def __init__(self) -> None:
        super().__init__("a task")
        self.sent = 0

    def send(self) -> bool:
        self.sent += 1
        return True


def test_it_counts_those_who_ask_in_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    def remember(rate: float) -> float:
        rates.append(rate)
        return 0.05

    monkeypatch.setattr(wakeup, "pause_for", remember)
    waker, began = _Listed(), time.monotonic()
    waker.wake()
    wait_until(lambda: waker.sent == 1)
    for _ in range(100):
        waker.wake()
    wait_until(lambda: waker.sent == 2)
    lasted = time.monotonic() - began
    # After a long silence it is nearly none.
    assert rates[0] < 1
    assert rates[1] >= 100 / lasted
