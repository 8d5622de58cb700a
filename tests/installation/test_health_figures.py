"""The figures of the health page: what waits, what moves, who lives, what is stored; and what it says without them."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis.exceptions import RedisError
from uuid_utils.compat import uuid7

from delivery.models import Delivery, OutcomeCount, Subscription
from ingestion.models import IntakeCount, OutboxEntry
from installation.doctor.examining import ALL
from installation.doctor.findings import Finding, Status
from installation.health import now as health
from installation.health import page, samples, status
from lifecycle.tasks import retain
from observability.metrics import queries
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


def test_parts_are_as_an_examination_found_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "look_at_intake", lambda: {"intake": "ok", "postgresql": "It is away."})
    found = {"redis": Status.PROBLEM, "clock_redis": Status.WARNING, "default_partitions": Status.SKIPPED}
    findings = [
        Finding(part=check.part, name=check.name, status=found.get(check.name, Status.OK), what=check.name, remedy="")
        for check in ALL
    ]
    parts = status.parts_of(findings)
    assert [*parts] == ["intake", "postgresql", *status._QUESTIONS]
    assert {name: part.state.value for name, part in parts.items() if part.state.value != "ok"} == {
        "postgresql": "failing", "redis": "failing", "clock": "note",
    }  # fmt: skip
    assert (parts["clock"].reason, parts["partitions"].reason) == ("clock_redis", "partitions")


def test_the_page_asks_each_thing_once(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(status, "_outcome", asked.append)
    with CaptureQueriesContext(connection) as captured:
        operator.get("/console/health/")
    assert asked == []
    assert len([query for query in captured if "SAVEPOINT" not in query["sql"]]) <= 12


def test_a_backlog_beyond_its_bound_has_the_age_of_its_oldest(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MOST_COUNTED", 1)
    webhook = Subscription.objects.create(organization=tenant.organization, kind="webhook", url="https://example.com")
    for minutes in (1, 3, 2):
        due = timezone.now() - timedelta(minutes=minutes)
        Delivery.objects.create(id=uuid7(), organization=tenant.organization, subscription=webhook, event_id=uuid7(),
                                created_at=due, next_attempt_at=due)  # fmt: skip
        waiting(minutes)
    for count, age in (queries.due_backlog(), queries.outbox_backlog()):
        assert (count, round(age / 60)) == (1, 3)


def test_without_redis_the_page_says_what_it_does_not_know(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise RedisError

    monkeypatch.setattr(samples, "redis_client", away)
    monkeypatch.setattr(health, "read_signs", away)
    text = operator.get("/console/health/").content.decode()
    assert "Redis does not answer, so it is unknown which processes are alive." in text
    assert "batches wait to be processed" in text
