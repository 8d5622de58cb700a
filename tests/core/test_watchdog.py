"""A process that makes no progress ends, so that its supervisor starts it again; one that cannot make any does not."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from core.broker import watchdog
from core.broker.wakeup import Waker, hint
from core.broker.watchdog import BeatProgress, Watchdog, WorkerProgress, messages_waiting
from events_platform.celery import app
from tests.support.celery_process import watched_celery
from tests.support.waiting import wait_until

# Python code that a worker runs before it starts.
_TAKES_NOTHING = "from core.broker.redis_transport import QoS\nQoS.can_consume = lambda self: False\n"
_DOES_NOT_TURN = """
import time
from celery.signals import worker_ready
@worker_ready.connect(weak=False)
def _hang(sender, **_):
    sender.hub.call_later(1, time.sleep, 600)
"""
_SENDS_NOTHING = "from celery import beat\nbeat.Scheduler.tick = lambda self: 1\n"


class Hub:
    """An event loop that turns while it is told to."""

    turns = True

    def call_soon(self, callback: Any) -> None:
        if self.turns:
            callback()


@pytest.fixture
def consumer() -> Any:
    queues = SimpleNamespace(consume_from={"events": None})
    controller = SimpleNamespace(concurrency=1)
    return SimpleNamespace(hub=Hub(), app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)), controller=controller)


def let_wait(monkeypatch: pytest.MonkeyPatch, count: int | None) -> None:
    monkeypatch.setattr(watchdog, "messages_waiting", lambda *_: count)


def test_only_looks_in_a_row_count(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    reasons = iter(["stuck", "stuck", None, "stuck", "stuck", "still stuck"])
    said: list[str] = []

    def end(reason: str) -> None:
        said.append(reason)
        ended.set()

    monkeypatch.setattr(watchdog, "end_process", end)
    dog = Watchdog(lambda: next(reasons), looks=3, pause=0.001)
    dog.start()
    assert ended.wait(10)
    dog.stop()
    assert said == ["still stuck"]


def test_a_worker_that_takes_nothing_is_stuck(consumer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = WorkerProgress(consumer)
    progress.stuck()
    let_wait(monkeypatch, 7)
    assert progress.stuck() == "7 messages wait and it takes none though it has a free process"
    let_wait(monkeypatch, 0)
    assert progress.stuck() is None  # there is nothing to do
    let_wait(monkeypatch, None)
    consumer.hub.turns = False
    assert (progress.stuck(), progress.stuck()) == (None, None)  # a restart brings no broker back


def test_a_worker_whose_loop_does_not_turn_is_stuck(consumer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = WorkerProgress(consumer)
    let_wait(monkeypatch, 0)
    consumer.hub.turns = False
    progress.stuck()
    assert progress.stuck() == "its event loop does not turn though the broker answers"


def test_a_worker_is_not_stuck_while_it_is_busy(consumer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = WorkerProgress(consumer)
    let_wait(monkeypatch, 7)
    monkeypatch.setattr(state, "all_total_count", [1])
    assert progress.stuck() is None  # it has begun with one
    monkeypatch.setattr(state, "active_requests", {"all that it can do at once"})
    assert progress.stuck() is None


def test_beat_is_stuck_when_only_it_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = BeatProgress()
    progress.count()
    assert progress.stuck() is None

    def send(_: Waker) -> bool:
        progress.count()  # as Celery's signal does
        return True

    monkeypatch.setattr(Waker, "send", send)
    assert progress.stuck()
    assert progress.stuck()  # its own message is none of beat's
    monkeypatch.setattr(Waker, "send", lambda _: False)
    assert progress.stuck() is None  # nor could beat send


def test_the_broker_tells_what_waits() -> None:
    app.control.purge()
    assert messages_waiting(app, ["events", "of-nobody"]) == 0
    app.send_task("ingestion.process_outbox", **hint(seconds=60))
    assert messages_waiting(app, ["events", "of-nobody"]) == 1
    app.control.purge()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "arguments", "reason"),
    [
        (_TAKES_NOTHING, ("worker", "--queues", "stuck", "--concurrency", "1"), "messages wait and it takes none"),
        (_DOES_NOT_TURN, ("worker", "--queues", "stuck", "--concurrency", "1"), "its event loop does not turn"),
        (_SENDS_NOTHING, ("beat", "--pidfile", ""), "it sends nothing"),
    ],
    ids=["takes-nothing", "does-not-turn", "sends-nothing"],
)
def test_a_process_that_stands_still_ends(before: str, arguments: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    """With its children, also when its main thread never comes to hear of the signal."""
    app.send_task("ingestion.retry_failed", queue="stuck")
    alive = tmp_path / "alive"
    with watched_celery(before, *arguments, LIVENESS_FILE=str(alive)) as process:
        said, _ = process.communicate(timeout=120)  # until the last of its children has closed its output
    assert "this process makes no progress and ends" in said
    assert reason in said
    assert alive.exists()


@pytest.mark.slow
def test_a_worker_with_nothing_to_do_shows_that_it_lives(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    with watched_celery("", "worker", "--queues", "idle", "--concurrency", "1", LIVENESS_FILE=str(alive)) as process:
        wait_until(alive.exists, seconds=120)
        first = alive.stat().st_mtime_ns
        wait_until(lambda: alive.stat().st_mtime_ns > first, seconds=60)
        assert process.poll() is None
