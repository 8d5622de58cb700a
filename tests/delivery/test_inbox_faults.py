"""Many consumers share an inbox, and some of them die: every event is acknowledged exactly once."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.ports import SyncDatabase, run_now
from delivery.models import Delivery, DeliveryStatus
from ingestion.formats.decoding import DecodedEvent
from ingestion.intake.storing import Incoming, store
from ingestion.operations import process_outbox
from installation.local.data_dir import CHECKOUT
from organizations.models import Organization
from tests.factories import inbox_of, make_key, make_organization
from tests.support.servers import serve

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.faults]

EVENTS = 20_000
CONSUMERS = 20
KILLED = 3
# Longer than the test may take: only the leases of the killed ones expire.
LEASE_SECONDS = 600
DEADLINE_SECONDS = 240


class Consumer:
    """A process of tests/support/http/consuming.py; what it says is written to a file."""

    def __init__(self, said: Path, **job: Any) -> None:
        self.said = said
        with said.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.http.consuming"],
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=output,
                text=True,
            )
        assert self.process.stdin
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.close()

    def lists(self, what: str) -> list[list[str]]:
        """The ids of each of its leases, or of its acknowledgements."""
        lines = [json.loads(line) for line in self.said.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [ids for said, ids in lines if said == what and ids]

    @property
    def held(self) -> list[str]:
        """What it leased and did not acknowledge: one lease at the most."""
        leased, acknowledged = self.lists("leased"), self.lists("acknowledged")
        return leased[-1] if len(leased) > len(acknowledged) else []


@contextmanager
def consumers(folder: Path, jobs: Iterable[dict[str, Any]]) -> Iterator[list[Consumer]]:
    running = [Consumer(folder / f"consumer-{number}", **job) for number, job in enumerate(jobs)]
    try:
        yield running
    finally:
        for consumer in running:
            consumer.process.kill()
            consumer.process.wait()


def fill_inbox(organization: Organization) -> set[str]:
    """The ids of EVENTS events that were accepted and processed."""
    inbox_of(organization)
    event = DecodedEvent(type="t", data="1", source=None, subject=None, time=None, idempotency_key=None)
    incoming = [Incoming(organization.pk, event) for _ in range(EVENTS)]
    for start in range(0, EVENTS, 1000):
        run_now(store(SyncDatabase(), incoming[start : start + 1000]))
    process_outbox()
    return {str(one.id) for one in incoming}


def wait_until_it_hangs(consumer: Consumer, hang_after: int, deadline: float) -> None:
    """Until it holds the lease that it does nothing about."""
    while len(consumer.lists("leased")) <= hang_after:
        assert consumer.process.poll() is None, "a consumer that was to hang has ended"
        assert time.monotonic() < deadline, "the consumers do not get on"
        time.sleep(0.05)


def test_consumers_that_die_neither_lose_nor_double_an_event(tmp_path: Path) -> None:
    organization = make_organization(plan="enterprise")
    _, key = make_key(organization)
    ids = fill_inbox(organization)
    assert Delivery.objects.count() == EVENTS
    deadline = time.monotonic() + DEADLINE_SECONDS
    with serve("asgi") as server:
        job = {"base_url": server.base_url, "key": key, "lease_seconds": LEASE_SECONDS}
        jobs = [{**job, "hang_after": number + 1 if number < KILLED else None} for number in range(CONSUMERS)]
        with consumers(tmp_path, jobs) as running:
            for number, consumer in enumerate(running[:KILLED]):
                wait_until_it_hangs(consumer, number + 1, deadline)
                consumer.process.kill()
            for consumer in running[KILLED:]:
                assert consumer.process.wait(deadline - time.monotonic()) == 0
    lost = Counter(event_id for consumer in running for event_id in consumer.held)
    leased = Counter(event_id for consumer in running for some in consumer.lists("leased") for event_id in some)
    acknowledged = [event_id for consumer in running for some in consumer.lists("acknowledged") for event_id in some]
    assert len(lost) == KILLED * 100
    assert leased == Counter(ids) + lost, "nobody held an event that another one held"
    assert len(acknowledged) == EVENTS
    assert set(acknowledged) == ids
    rows = Delivery.objects.values_list("status", "attempts", "lease_id", "next_attempt_at")
    assert Counter(rows) == {
        (DeliveryStatus.DELIVERED, 1, None, None): EVENTS - len(lost),
        (DeliveryStatus.DELIVERED, 2, None, None): len(lost),
    }
