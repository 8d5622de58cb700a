"""How a worker takes messages: it waits for its broker without end, and for what is due by its own clock."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import WorkerShutdown
from celery.worker import consumer, state
from django.test import override_settings
from kombu import Connection

from core.broker.consumer import Consumer
from core.broker.messages import WAIT_SECONDS
from events_platform.celery import app

AHEAD = 7200.0


@pytest.fixture
def worker() -> Consumer:
    """Without anything that it does at its start."""
    app.loader.import_default_modules()
    made = Consumer.__new__(Consumer)
    made.app, made.connection_errors, made.channel_errors = app, (OSError,), ()
    return made


def test_a_worker_waits_for_its_broker_until_it_is_stopped(
    worker: Consumer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And shows that it lives: no restart brings the broker back."""
    tries: list[int] = []

    def stop_soon() -> None:
        tries.append(1)
        if len(tries) == 3:
            monkeypatch.setattr(state, "should_stop", 0)

    monkeypatch.setattr(state, "should_stop", None)
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _: stop_soon())
    with override_settings(LIVENESS_FILE=str(tmp_path / "alive")), pytest.raises(WorkerShutdown):
        worker.ensure_connected(Connection("redis://127.0.0.1:1/1"))
    assert len(tries) == 3
    assert (tmp_path / "alive").exists()


def test_what_is_due_later_is_due_by_the_clock_of_the_worker_that_has_it(
    worker: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.connection_for_write() as broker:
        channel: Any = broker.default_channel
        channel.queue_purge("later")
        app.send_task("delivery.mail_notice", kwargs={"event_id": "1"}, countdown=600, queue="later")
        message = channel.basic_get("later", no_ack=True)
    assert message.headers[WAIT_SECONDS] <= 600
    # As a sender sets it whose clock is ahead.
    message.headers["eta"] = datetime.fromtimestamp(time.time() + AHEAD, UTC).isoformat()
    seen: list[Any] = []
    monkeypatch.setattr(consumer.Consumer, "create_task_handler", lambda _: seen.append)
    worker.create_task_handler()(message)
    assert seen == [message]
    left = datetime.fromisoformat(message.headers["eta"]) - datetime.now(UTC)
    assert 0 < left.total_seconds() <= 600
