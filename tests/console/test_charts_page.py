"""The charts of an endpoint: counts of its own attempts, by range, and what waits."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from console.charts.queries import RANGES, charts_of
from delivery.models import OutcomeCount, Subscription
from delivery.outcome_counts.buckets import bucket_of
from tests.conftest import Tenant
from tests.factories import make_organization
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
