"""Workers that are killed and a Redis that is emptied, in the middle of many deliveries: nothing is lost."""

from functools import partial

import pytest
from django.db import connections
from django.db.models import QuerySet
from django_redis import get_redis_connection

from delivery.models import Attempt, Delivery
from ingestion.models import OutboxEntry
from tests.factories import make_organization
from tests.support.celery_process import workers
from tests.support.events.delivering import SECRET, received, store_events, webhook
from tests.support.http.receiver import receiver_process
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

DEADLINE_SECONDS = 240


def reached(deliveries: "QuerySet[Delivery]", count: float) -> bool:
    return deliveries.count() >= count


@pytest.mark.long
@pytest.mark.parametrize("events", [400, 10_000])
@pytest.mark.django_db(transaction=True)
def test_kills_and_flushes_lose_no_delivery_and_count_none_twice(events: int, broker: dict[str, str]) -> None:
    organization = make_organization(plan="enterprise")
    with receiver_process(SECRET, keep=True) as healthy_at, receiver_process(SECRET, keep=True) as flaky_at:
        healthy = webhook(organization, f"{healthy_at}/ok")
        flaky = webhook(organization, f"{flaky_at}/flaky")
        dead = webhook(organization, "http://127.0.0.1:9/nobody")
        ids = store_events(organization, events)
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
        with_row = Attempt.objects.filter(subscription_id=subscription.pk, error="").count()
        successes = with_row + counted.filter(first_attempt__isnull=False).count()
        assert successes >= counted.count()
        assert len(arrived) >= successes  # what a kill cut off arrived without being recorded
    connections.close_all()
