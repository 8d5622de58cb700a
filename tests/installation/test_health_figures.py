"""The figures of the health page: what waits, what moves, who lives, what is stored; and what it says without them."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from redis.exceptions import RedisError
from uuid_utils.compat import uuid7

from delivery.models import OutcomeCount, Subscription
from ingestion.models import IntakeCount, OutboxEntry
from installation.health import now as health
from installation.health import page, samples
from lifecycle.tasks import retain
from observability.signs_of_life import redis_client
from tests.conftest import Tenant
from tests.factories import UserFactory
from tests.support.people.console_data import browser_of

pytestmark = pytest.mark.slow


@pytest.fixture
def operator(db: None) -> Client:
    page.forget_examination()
    redis_client().delete("health:samples", "retention:last-run")
    return browser_of(UserFactory.create(is_staff=True, is_superuser=True))


def waiting(minutes: int) -> None:
    OutboxEntry.objects.create(id=uuid7(), event_ids=[uuid7()], created_at=timezone.now() - timedelta(minutes=minutes))


def test_backlogs_rates_and_samples_of_the_last_hour(tenant: Tenant) -> None:
    redis_client().delete("health:samples")
    minute = datetime.fromtimestamp(int(time.time() // 60) * 60, UTC) - timedelta(minutes=3)
    IntakeCount.objects.create(organization=tenant.organization, minute=minute, outcome="accepted", count=500)
    IntakeCount.objects.create(organization=tenant.organization, minute=minute, outcome="duplicate", count=70)
    webhook = Subscription.objects.create(organization=tenant.organization, kind="webhook", url="https://example.com")
    for outcome, step in (("delivered", 60), ("timeout", 60), ("delivered", 3600)):
        OutcomeCount.objects.create(organization=tenant.organization, subscription_id=webhook.pk, step=step,
                                    start=minute, outcome=outcome, bucket=1, count=50)  # fmt: skip
    waiting(2)
    waiting(1)
    samples.take_sample()
    outbox, sending, inboxes = health._flows()
    assert (outbox.waiting, round(outbox.age / 60), outbox.rate) == (2, 2, 100)
    assert (sending.waiting, sending.rate) == (0, 20)
    assert (inboxes.waiting, inboxes.rate) == (0, None)
    assert outbox.backlog.bad
    assert sending.rates is not None
    assert sending.rates.good
    assert sending.rates.bad
    (kept,) = samples.read_samples().values()
    assert kept.outbox == 2
    for _ in range(70):
        samples.take_sample()
    assert redis_client().llen("health:samples") == 60


def test_the_page_shows_parts_with_reasons_and_when_retention_ran(operator: Client) -> None:
    text = operator.get("/console/health/").content.decode()
    assert "Retention has not run since Redis was started" in text
    for part in ("intake", "postgresql", "redis", "broker", "processing", "sending", "beat", "partitions", "clock"):
        assert f"</span> {part}</dt>" in text
    assert "ingestion_event" in text
    assert "ahead" in text
    retain()
    page.forget_examination()
    assert "Retention last ran" in operator.get("/console/health/").content.decode()


def test_without_redis_the_page_says_what_it_does_not_know(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise RedisError

    monkeypatch.setattr(samples, "redis_client", away)
    monkeypatch.setattr(health, "read_signs", away)
    text = operator.get("/console/health/").content.decode()
    assert "Redis does not answer, so it is unknown which processes are alive." in text
    assert "batches wait to be processed" in text
