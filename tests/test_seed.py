"""The made-up history is one that the platform could have written itself."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from delivery.delivery_ids import delivery_id
from delivery.models import Attempt, Delivery
from ingestion.models import Event, EventType, HourlyStat, IntakeCount
from ingestion.operations import process_outbox


@pytest.mark.django_db
def test_it_is_consistent() -> None:
    call_command("seed", events=500, tenants=5, stdout=StringIO())
    assert Event.objects.count() == 500
    for delivery in Delivery.objects.select_related("subscription"):
        assert delivery.pk == delivery_id(delivery.event_id, delivery.subscription_id)
        assert delivery.organization_id == delivery.subscription.organization_id
        assert delivery.next_attempt_at is None
    assert set(Attempt.objects.values_list("delivery_id", flat=True)) <= set(
        Delivery.objects.values_list("pk", flat=True)
    )
    assert all(event.pk.version == 7 for event in Event.objects.all())
    assert sum(HourlyStat.objects.values_list("count", flat=True)) == 500
    assert sum(EventType.objects.values_list("count", flat=True)) == 500
    assert sum(IntakeCount.objects.filter(outcome="accepted").values_list("count", flat=True)) == 500
    assert process_outbox() == 0


@pytest.mark.django_db
def test_nonsense_is_refused() -> None:
    with pytest.raises(CommandError):
        call_command("seed", events=0)
