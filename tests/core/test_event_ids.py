"""Ids of events: in the order in which they are made, by however many processes of one host."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

import time_machine

from core.event_ids import lowest_id, new_event_id, time_of
from installation.local.data_dir import CHECKOUT

START = datetime(2026, 1, 7, 12, tzinfo=UTC)


def test_it_is_a_uuid7_of_now() -> None:
    with time_machine.travel(START + timedelta(milliseconds=7), tick=False):
        made = new_event_id()
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert time_of(made) == START + timedelta(milliseconds=7)
    assert lowest_id(START) < made


def test_ids_of_one_moment_follow_each_other_also_when_the_clock_is_set_back_a_little() -> None:
    with time_machine.travel(START, tick=False) as clock:
        made = [new_event_id() for _ in range(5_000)]
        clock.shift(timedelta(milliseconds=-500))
        made += [new_event_id() for _ in range(10)]
        assert made == sorted(set(made))
        clock.shift(timedelta(hours=-1))
        assert time_of(new_event_id()) == START - timedelta(hours=1, milliseconds=500)


def test_ids_of_two_processes_sort_by_time() -> None:
    """Of which each makes one when the other has made one, many times in a millisecond."""
    program = (
        "import sys; from core.event_ids import new_event_id\nfor _ in sys.stdin: print(new_event_id(), flush=True)"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", program], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    made = []
    for number in range(200):
        maker = makers[number % 2]
        assert maker.stdin
        assert maker.stdout
        maker.stdin.write(b"\n")
        maker.stdin.flush()
        made.append(UUID(maker.stdout.readline().decode().strip()))
    for maker in makers:
        maker.communicate()
    assert made == sorted(made)
