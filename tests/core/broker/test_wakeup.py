"""Wake-ups: at once when nothing has happened for a while, seldom when much does."""

import pytest

from core.broker.wakeup import LONGEST_PAUSE_SECONDS, PAUSE_SECONDS, pause_after


@pytest.mark.parametrize("wishes_per_second", [1, 16, 35])
def test_a_pause_stays_short_while_little_is_asked_for(wishes_per_second: int) -> None:
    pause = PAUSE_SECONDS
    for _ in range(100):
        pause = pause_after(round(wishes_per_second * pause))
    assert pause == PAUSE_SECONDS


@pytest.mark.parametrize("wishes_per_second", [80, 1_000, 100_000])
def test_a_pause_grows_with_what_is_asked_for_up_to_a_bound(wishes_per_second: int) -> None:
    pause = PAUSE_SECONDS
    for _ in range(100):
        pause = pause_after(round(wishes_per_second * pause))
    assert pause == LONGEST_PAUSE_SECONDS
    assert pause_after(0) == PAUSE_SECONDS
