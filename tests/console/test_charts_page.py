"""The charts of an endpoint: counts of its own attempts, by range, and what waits."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from console.charts.queries import RANGES, charts_of
from delivery.models import Delivery, DeliveryStatus, OutcomeCount, QueueSample, Subscription
from delivery.outcome_counts.buckets import bucket_of
from delivery.queue_samples import sampling
from delivery.queue_samples.sampling import sample_queues
from lifecycle.retention.running import apply_retention
from tests.conftest import Tenant
from tests.factories import make_delivery, make_events, make_organization, make_webhook
from tests.support.people.console_data import browser_of, make_member

pytestmark = pytest.mark.django_db


@pytest.fixture
def webhook(tenant: Tenant) -> Subscription:
    return Subscription.objects.create(organization=tenant.organization, kind="webhook", url="https://example.com/a")


def count(subscription: Subscription, start: datetime, outcome: str, number: int, *, step: int, ms: int = 100) -> None:
    OutcomeCount.objects.create(
        organization=subscription.organization,
        subscription_id=subscription.pk,
        step=step,
        start=start,
        outcome=outcome,
        bucket=bucket_of(ms),
        count=number,
    )


def test_each_range_counts_what_is_in_it(webhook: Subscription) -> None:
    now = timezone.now()
    minute = now.replace(second=0, microsecond=0)
    hour = minute.replace(minute=0)
    count(webhook, minute, "delivered", 90, step=60)
    count(webhook, minute - timedelta(minutes=59), "timeout", 10, step=60, ms=15_000)
    count(webhook, minute - timedelta(minutes=60), "timeout", 500, step=60)
    count(webhook, hour, "delivered", 95, step=3600)
    count(webhook, hour - timedelta(hours=30), "dns", 7, step=3600)
    count(webhook, hour - timedelta(days=20), "http_error", 9, step=3600)
    other = Subscription.objects.create(organization=webhook.organization, kind="webhook", url="https://example.com/b")
    count(other, minute, "delivered", 1_000, step=60)
    found = {name: charts_of(webhook, chosen, now=now) for name, chosen in RANGES.items()}
    assert {name: (each.delivered, each.failed) for name, each in found.items()} == {
        "1h": (90, 10),
        "24h": (95, 0),
        "7d": (95, 7),
        "30d": (95, 16),
    }
    assert found["1h"].errors == [("timeout", "It does not answer in time", 10)]
    assert found["1h"].median is not None
    assert found["1h"].slow is not None
    assert found["1h"].median < 120
    assert found["1h"].slow > 13_000
    assert (found["1h"].waiting, found["1h"].oldest) == (0, 0.0)


def test_the_page_is_the_organizations_own(webhook: Subscription) -> None:
    path = f"/console/o/{webhook.organization.slug}/subscriptions/{webhook.pk}/charts/"
    member = browser_of(make_member(webhook.organization))
    assert "No attempt has failed in this time." in member.get(path, {"range": "nonsense"}).content.decode()
    other = make_organization()
    stranger = browser_of(make_member(other))
    assert stranger.get(path).status_code == 404
    assert stranger.get(path.replace(webhook.organization.slug, other.slug)).status_code == 404


# --- What waits, over time -------------------------------------------------------------------------------------------


def wait(subscription: Subscription, count: int, since: datetime) -> None:
    for event in make_events(subscription.organization, count, at=since):
        make_delivery(event, subscription, DeliveryStatus.RETRYING, next_attempt_at=since + timedelta(days=1))


def test_what_waits_is_drawn_over_time(webhook: Subscription) -> None:
    now = timezone.now()
    minute = now.replace(second=30, microsecond=0)
    wait(webhook, 3, minute - timedelta(minutes=10))
    sample_queues(now=minute - timedelta(minutes=2))
    wait(webhook, 4, minute - timedelta(minutes=2))
    sample_queues(now=minute - timedelta(minutes=1))
    Delivery.objects.update(next_attempt_at=None)
    sample_queues(now=minute)
    hour = charts_of(webhook, RANGES["1h"], now=now)
    assert [(bar.waiting, bar.oldest) for bar in hour.bars] == [(7, 540), (3, 480)]
    assert hour.bars[0].start == minute.replace(second=0) - timedelta(minutes=1)
    assert (hour.most_waiting, hour.longest) == (7, 540)
    assert "at most 7" in hour.queues.label
    assert "at most 540 s" in hour.ages.label
    # Of an hour the most is kept.
    assert max(bar.waiting for bar in charts_of(webhook, RANGES["24h"], now=now).bars) == 7
    owner = browser_of(make_member(webhook.organization))
    path = f"/console/o/{webhook.organization.slug}/subscriptions/{webhook.pk}/charts/"
    page = owner.get(path, {"range": "1h"}).content.decode()
    assert "9 min" in page.partition("As a table")[2]


def test_only_what_waits_for_endpoints_is_kept_twice_is_as_once(webhook: Subscription) -> None:
    now = timezone.now().replace(minute=30)
    wait(webhook, 1, now - timedelta(seconds=2))  # on its way
    inbox = Subscription.objects.create(organization=webhook.organization, kind="inbox", name="slow")
    wait(inbox, 1, now - timedelta(hours=1))
    gone = make_webhook(webhook.organization, status="deleted")
    wait(gone, 1, now - timedelta(hours=1))
    other = make_webhook(make_organization(), status="paused")
    wait(other, 2, now - timedelta(hours=1))
    for _ in range(2):
        sample_queues(now=now)
    assert set(QueueSample.objects.values_list("organization", "subscription_id", "step", "waiting")) == {
        (other.organization_id, other.pk, 60, 2),
        (other.organization_id, other.pk, 3600, 2),
    }


def test_many_long_queues_cost_one_bounded_statement(webhook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MOST_COUNTED", 10), ("MOST_OF_ALL", 12), ("SURELY_COUNTED", 3)):
        monkeypatch.setattr(sampling, name, value)
    now = timezone.now()
    wait(webhook, 12, now - timedelta(hours=1))
    sample_queues(now=now)
    assert charts_of(webhook, RANGES["1h"], now=now).bars[0].waiting == 10
    QueueSample.objects.all().delete()
    for _ in range(5):
        wait(make_webhook(webhook.organization), 4, now - timedelta(hours=1))
    with CaptureQueriesContext(connection) as queries:
        sample_queues(now=now)
    assert len(queries) == 1
    assert set(QueueSample.objects.values_list("waiting", flat=True)) == {3}


def test_samples_leave_when_no_chart_shows_them(webhook: Subscription) -> None:
    now = timezone.now()
    for step, age in ((60, timedelta(hours=1)), (60, timedelta(hours=3)), (3600, timedelta(days=30)),
                      (3600, timedelta(days=36))):  # fmt: skip
        QueueSample.objects.create(organization=webhook.organization, subscription_id=webhook.pk, step=step,
                                   start=now - age, waiting=1, oldest_seconds=9)  # fmt: skip
    apply_retention(now=now)
    assert [now - start for start in QueueSample.objects.order_by("-start").values_list("start", flat=True)] == [
        timedelta(hours=1),
        timedelta(days=30),
    ]
