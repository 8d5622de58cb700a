"""The worker is killed in the middle of its work: no event is lost, and none is processed twice."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, connections
from uuid_utils.compat import uuid7

from delivery.models import Delivery
from ingestion.decoding import DecodedEvent
from ingestion.intake.storing import Incoming, store
from ingestion.models import EventType, OutboxEntry
from rest.ports import DirectDatabase, run_now
from tests.factories import make_organization
from tests.waiting import wait_until

# Several transactions of processing, so that the first kill finds some done and some not.
EVENTS = 30_000
EVENTS_PER_ENTRY = 100
DEADLINE_SECONDS = 120


@contextmanager
def worker(**environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real Celery worker on this test's database, with beat inside for the sweep; killed at the end."""
    settings = connection.settings_dict
    url = f"postgresql://{settings['USER']}@/{settings['NAME']}?host={settings['HOST']}"
    schedule = f"{os.environ['EVENTS_DATA_DIR']}/beat-{uuid7()}"
    command = [sys.executable, "-m", "celery", "-A", "events_platform", "worker", "-B", "-s", schedule]
    command += ["--concurrency=2", "--without-gossip", "--without-mingle"]
    process = subprocess.Popen(command, env={**os.environ, "DATABASE_URL": url, **environ}, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_left(left: int) -> None:
    """Until at most `left` batches wait in the outbox."""
    wait_until(lambda: OutboxEntry.objects.count() <= left, seconds=DEADLINE_SECONDS)


@pytest.mark.faults
@pytest.mark.django_db(transaction=True)
def test_a_killed_worker_loses_and_doubles_nothing(broker: dict[str, str]) -> None:
    organization = make_organization()
    event = DecodedEvent(type="t", data="1", source=None, subject=None, time=None, idempotency_key=None)
    incoming = [Incoming(organization.pk, event) for _ in range(EVENTS)]
    for start in range(0, EVENTS, EVENTS_PER_ENTRY):
        run_now(store(DirectDatabase(), incoming[start : start + EVENTS_PER_ENTRY]))
    ids = {one.id for one in incoming}
    with worker(**broker):
        wait_until_left(EVENTS // EVENTS_PER_ENTRY - 1)
    assert OutboxEntry.objects.exists(), "the worker was to be killed in the middle"
    with worker(**broker):
        wait_until_left(0)
    assert set(Delivery.objects.values_list("event_id", flat=True)) == ids
    assert Delivery.objects.count() == EVENTS
    assert EventType.objects.get(organization=organization).count == EVENTS
    connections.close_all()
