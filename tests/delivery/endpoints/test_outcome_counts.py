"""Attempts are counted by endpoint, outcome and duration, in bulk, and add up."""

from ipaddress import ip_network
from typing import Any

import pytest
from django.db.models import Sum

from delivery.models import OutcomeCount
from delivery.outcome_counts.buckets import bucket_of, milliseconds_of, quantile
from tests.factories import make_organization
from tests.support.events.delivering import SECRET, accept, send_due, webhook
from tests.support.http.receiver import receiving


@pytest.mark.django_db(transaction=True)
def test_what_was_sent_is_counted_by_the_minute_and_the_hour(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    organization = make_organization()
    with receiving(SECRET) as receiver:
        good = webhook(organization, f"{receiver.url}/ok")
        bad = webhook(organization, f"{receiver.url}/status/500")
        for _ in range(2):
            accept(organization, 3)
            assert send_due() == 6
    for step in (60, 3600):
        rows = OutcomeCount.objects.for_organization(organization.pk).filter(step=step)
        sums = rows.values_list("subscription_id", "outcome").annotate(Sum("count")).order_by()
        assert set(sums) == {(good.pk, "delivered", 6), (bad.pk, "http_error", 6)}
        assert {row.start.timestamp() % step for row in rows} == {0}


def test_a_quantile_is_near_what_was_counted() -> None:
    counts: dict[int, int] = {}
    for milliseconds in range(1, 1_001):
        counts[bucket_of(milliseconds)] = counts.get(bucket_of(milliseconds), 0) + 1
    median, slow = quantile(counts, 0.5), quantile(counts, 0.95)
    assert median is not None
    assert slow is not None
    assert abs(median - 500) < 60
    assert abs(slow - 950) < 120
    assert quantile({}, 0.5) is None
    assert quantile({bucket_of(0): 3}, 0.5) == 0
    assert all(abs(milliseconds_of(bucket_of(each)) - each) <= each / 10 + 1 for each in range(60_000))
