"""A worker's process has one connection to PostgreSQL for all of its tasks, and is there without loading the pages."""

import secrets
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from celery import states
from django.db import connection

from events_platform.celery import app
from installation.local.data_dir import CHECKOUT
from tests.support.celery_process import celery_process
from tests.support.servers import test_database_url
from tests.support.waiting import wait_until

TASK = "ingestion.remove_expired_idempotency_keys"
LOADED = """
import sys
from events_platform.celery import app
app.loader.import_default_modules()
print(*sys.modules)
"""


def sessions(name: str) -> list[tuple[int, Any]]:
    """The process of each session of that name that has ended the task, and when its last statement began.

    The worker itself has a session for a moment, to look at the schema before it takes tasks.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, query_start FROM pg_stat_activity"
            " WHERE application_name = %s AND state = 'idle' AND query LIKE '%%ingestion_idempotencykey%%'",
            [name],
        )
        found: list[tuple[int, Any]] = cursor.fetchall()
    return found


@pytest.mark.django_db(transaction=True)
def test_a_worker_keeps_its_connection_from_task_to_task() -> None:
    name = f"worker-{secrets.token_hex(4)}"
    command = [sys.executable, "-m", "celery", "-A", "events_platform", "worker", "-c", "1", "-Q", name, "-n", name]
    seen: list[tuple[int, Any]] = []

    def is_new() -> bool:
        return bool(found := sessions(name)) and found[-1] not in seen

    with celery_process(command, DATABASE_URL=test_database_url(), PGAPPNAME=name):
        for _ in range(3):
            app.send_task(TASK, queue=name)
            wait_until(is_new)
            seen += sessions(name)
    assert len({pid for pid, _ in seen}) == 1


@pytest.mark.django_db(transaction=True)
def test_the_connection_of_a_task_that_failed_is_not_used_again() -> None:
    """It may be in the middle of a statement."""
    celery: Any = app
    (fixup,) = celery._fixups
    task = SimpleNamespace(request=SimpleNamespace(is_eager=False))
    connection.ensure_connection()
    kept = connection.connection
    fixup.worker_fixup.on_task_postrun(task, state=states.SUCCESS)
    fixup.worker_fixup.on_task_prerun(task)
    assert connection.connection is kept
    fixup.worker_fixup.on_task_postrun(task, state=states.FAILURE)
    assert connection.connection is None


def test_the_tasks_are_loaded_without_the_pages() -> None:
    """The first events after a start wait for it."""
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
    loaded = done.stdout.split()
    assert "delivery.tasks" in loaded
    assert "events_platform.urls" not in loaded
