"""Long tasks leave a process of their worker to events, and a process that is killed leaves its place."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

import pytest

from console import tasks
from console.exports import jobs as exports
from core.broker.long_tasks import TURN_SECONDS, long_task
from events_platform.settings import CELERY_BEAT_SCHEDULE
from notifications import slack
from notifications import tasks as notifications


def hold(pipe: Connection) -> None:
    """In another process of the worker: says whether it has a place, and keeps it."""
    with long_task() as has_place:
        pipe.send(has_place)
        signal.pause()


def another() -> tuple[Any, bool]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=hold, args=(theirs,))
    process.start()
    assert ours.poll(60)
    return process, ours.recv()


def test_one_process_fewer_than_there_are_has_a_place(settings: Any) -> None:
    settings.CELERY_WORKER_CONCURRENCY = 3
    made = [another() for _ in range(3)]
    try:
        assert [has_place for _, has_place in made] == [True, True, False]
        os.kill(made[0][0].pid, signal.SIGKILL)
        made[0][0].join(60)
        with long_task() as has_place:
            assert has_place
    finally:
        for process, _ in made:
            process.kill()
            process.join()


def test_without_a_place_nothing_is_exported_now(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CELERY_WORKER_CONCURRENCY = 1
    ran: list[float] = []
    monkeypatch.setattr(exports, "run_exports", lambda *, seconds: ran.append(seconds))
    process, has_place = another()
    try:
        assert has_place
        tasks.run_exports()
        assert ran == []
    finally:
        process.kill()
        process.join()
    tasks.run_exports()
    assert ran == [TURN_SECONDS]


def test_mails_and_posts_also_ask_between_the_turns_of_others() -> None:
    """Or exports that go on and on would come first each time."""
    every = {name: entry["schedule"] for name, entry in CELERY_BEAT_SCHEDULE.items()}
    others = [every[name] for name in ("run-exports", "run-replays", "retry-dead-letters")]
    assert all(every["send-mails"] < least and every["post-to-slack"] % least for least in others)
    assert every["post-to-slack"] > 2 * slack._SECONDS


def test_without_a_place_no_mail_server_and_no_channel_is_waited_for(settings: Any) -> None:
    settings.CELERY_WORKER_CONCURRENCY = 2
    process, has_place = another()
    with mock.patch("notifications.mails.send_mails") as mails, mock.patch("notifications.slack.post_due") as posts:
        try:
            assert has_place
            notifications.send_mails()
            notifications.post_due()
            assert (mails.call_count, posts.call_count) == (0, 0)
        finally:
            process.kill()
            process.join()
        notifications.send_mails()
        notifications.post_due()
    mails.assert_called_once_with(seconds=TURN_SECONDS)
    posts.assert_called_once()
