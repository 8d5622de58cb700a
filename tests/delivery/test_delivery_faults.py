"""Workers that are killed and a Redis that is emptied, in the middle of many deliveries: nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import connections
from django.db.models import QuerySet
from django_redis import get_redis_connection
from uuid_utils.compat import uuid7

from core.ports import SyncDatabase, run_now
from core.secrets import encrypt_secret
from delivery.models import Attempt, Delivery, Subscription, SubscriptionKind
from delivery.webhooks.signing import generate_secret
from ingestion.formats.decoding import DecodedEvent
from ingestion.intake.storing import Incoming, store
from ingestion.models import OutboxEntry
from installation.local.data_dir import CHECKOUT
from tests.factories import make_organization
from tests.support.http.receiver import receiver_process
from tests.support.servers import test_database_url
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

DEADLINE_SECONDS = 240
SECRET = generate_secret()
_ENVIRONMENT = {
    "WEBHOOK_ALLOW_HTTP": "true",
    "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32",
    "WEBHOOK_RETRY_SCHEDULE": "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
    "WEBHOOK_TIMEOUT_SECONDS": "2",
}


class Workers:
    """Both Celery workers and beat, as the platform runs them; `environ` is added to their environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        schedule = f"{os.environ['EVENTS_DATA_DIR']}/beat-{uuid7()}"
        celery = [sys.executable, "-m", "celery", "-A", "events_platform", "--quiet"]
        options = ["--concurrency=1", "--without-gossip", "--without-mingle", "--loglevel=WARNING"]
        commands = [
            [*celery, "worker", "--queues=events", "--hostname=events@%h", "-B", "-s", schedule, *options],
            [*celery, "worker", "--queues=deliveries", "--hostname=deliveries@%h", *options],
        ]
        environment = {**os.environ, **_ENVIRONMENT, "DATABASE_URL": test_database_url(), **self._environ}
        self._processes = [
            subprocess.Popen(command, cwd=CHECKOUT, env=environment, start_new_session=True) for command in commands
        ]

    def kill(self) -> None:
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes = []


@contextmanager
def workers(**environ: str) -> Iterator[Workers]:
    running = Workers(environ)
    running.start()
    try:
        yield running
    finally:
        running.kill()


def reached(deliveries: "QuerySet[Delivery]", count: float) -> bool:
    return deliveries.count() >= count


def webhook(organization: Any, url: str) -> Subscription:
    return Subscription.objects.create(
        organization=organization,
        kind=SubscriptionKind.WEBHOOK,
        url=url,
        secret=encrypt_secret(SECRET),
        headers={},
        event_types=["*"],
        status="active",
    )


def accept(organization: Any, count: int) -> set[str]:
    event = DecodedEvent(type="t", data='{"n": 1}', source=None, subject=None, time=None, idempotency_key=None)
    ids: set[str] = set()
    for _ in range(count // 100):
        incoming = [Incoming(organization.pk, event) for _ in range(100)]
        run_now(store(SyncDatabase(), incoming))
        ids |= {str(one.id) for one in incoming}
    return ids


def received(address: str) -> list[str]:
    with urllib.request.urlopen(f"{address}/_/received", timeout=30) as answer:
        ids: list[str] = json.load(answer)["ids"]
        return ids


@pytest.mark.long
@pytest.mark.parametrize("events", [400, 10_000])
@pytest.mark.django_db(transaction=True)
def test_kills_and_flushes_lose_no_delivery_and_count_none_twice(events: int, broker: dict[str, str]) -> None:
    organization = make_organization(plan="enterprise")
    with receiver_process(SECRET, keep=True) as healthy_at, receiver_process(SECRET, keep=True) as flaky_at:
        healthy = webhook(organization, f"{healthy_at}/ok")
        flaky = webhook(organization, f"{flaky_at}/flaky")
        dead = webhook(organization, "http://127.0.0.1:9/nobody")
        ids = accept(organization, events)
        delivered = Delivery.objects.filter(subscription=healthy, status="delivered")
        with workers(**broker) as running:
            for share in (0.1, 0.4, 0.7):
                wait_until(partial(reached, delivered, events * share), seconds=DEADLINE_SECONDS)
                running.kill()
                if share < 0.7:
                    get_redis_connection("default").execute_command("FLUSHALL")
                running.start()
            wait_until(
                lambda: delivered.count() == events and not OutboxEntry.objects.exists(), seconds=DEADLINE_SECONDS
            )
            settled = Delivery.objects.filter(subscription=flaky, status__in=["delivered", "dead_letter"])
            wait_until(lambda: settled.count() == events, seconds=DEADLINE_SECONDS)
        at_healthy, at_flaky = received(healthy_at), received(flaky_at)
    assert set(at_healthy) == ids
    assert set(at_flaky) == ids
    by_status = {status: Delivery.objects.filter(subscription=dead, status=status).count() for status in
                 ("pending", "retrying", "dead_letter")}  # fmt: skip
    assert sum(by_status.values()) == events
    assert by_status["retrying"] + by_status["dead_letter"] > 0
    for subscription, arrived in ((healthy, at_healthy), (flaky, at_flaky)):
        counted = Delivery.objects.filter(subscription=subscription, status="delivered")
        assert (
            counted.count() + Delivery.objects.filter(subscription=subscription, status="dead_letter").count() == events
        )
        successes = Attempt.objects.filter(subscription_id=subscription.pk, error="")
        assert successes.count() >= counted.count()
        assert len(arrived) >= successes.count()  # what a kill cut off arrived without being recorded
    connections.close_all()
