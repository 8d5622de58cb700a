"""Work that one process of all does at a time: the next one can begin when it has ended."""

import pytest

from lifecycle.single_runner import single_runner

NUMBER = 4_711


@pytest.mark.django_db(transaction=True)
def test_only_one_has_it_and_the_next_one_right_after() -> None:
    for _ in range(30):
        with single_runner(NUMBER) as is_ours, single_runner(NUMBER) as is_theirs:
            assert (is_ours, is_theirs) == (True, False)
