"""The made-up history is one that the platform could have written itself."""

from collections import Counter
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from core.partitions.making import attach_partition
from delivery.delivery_ids import delivery_id
from delivery.models import Attempt, Delivery
from demo.management.commands import seed
from demo.seeding.filling import Week
from demo.seeding.history import Counts
from demo.seeding.processes import fill_weeks
from ingestion.models import Event, EventStatus, EventType, HourlyStat, IntakeCount, ProcessingFailure
from ingestion.operations import process_outbox

FINAL = {"delivered", "dead_letter"}


@pytest.mark.django_db
def test_it_is_consistent() -> None:
    call_command("seed", events=500, tenants=5, stdout=StringIO())
    assert Event.objects.count() == 500
    assert all(event.pk.version == 7 for event in Event.objects.all())
    _assert_deliveries_fit()
    _assert_counts_fit()
    assert process_outbox() == 0


def _assert_deliveries_fit() -> None:
    attempts = Counter(Attempt.objects.values_list("delivery_id", flat=True))
    for delivery in Delivery.objects.select_related("subscription"):
        assert delivery.pk == delivery_id(delivery.event_id, delivery.subscription_id)
        assert delivery.organization_id == delivery.subscription.organization_id
        assert (delivery.next_attempt_at is None) == (delivery.status in FINAL)
        if delivery.subscription.kind == "webhook":
            assert attempts.pop(delivery.pk) == delivery.attempts
    assert not attempts
    processed = Event.objects.of_status(EventStatus.PROCESSED)
    inbox = Delivery.objects.filter(subscription__kind="inbox")
    assert set(inbox.values_list("event_id", flat=True)) == set(processed.values_list("pk", flat=True))


def _assert_counts_fit() -> None:
    processed = Event.objects.of_status(EventStatus.PROCESSED)
    failed = ProcessingFailure.objects.count()
    assert processed.count() == 500 - failed
    assert failed == 5
    for stats in (HourlyStat, EventType):
        assert sum(stats.objects.values_list("count", flat=True)) == 500 - failed
    assert sum(IntakeCount.objects.filter(outcome="accepted").values_list("count", flat=True)) == 500
    by_type = Counter(processed.values_list("organization", "type"))
    assert dict(by_type) == {(row.organization_id, row.name): row.count for row in EventType.objects.all()}


@pytest.mark.django_db
def test_weeks_become_partitions_with_every_index() -> None:
    call_command("seed", events=500, tenants=5, stdout=StringIO())
    call_command("seed", events=500, tenants=5, stdout=StringIO())
    assert Event.objects.count() == 1000
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ingestion_event_default")
        assert cursor.fetchone()[0] == 0
        cursor.execute(
            "SELECT DISTINCT (SELECT count(*) FROM pg_index WHERE indrelid = inhrelid AND indisvalid)"
            " FROM pg_inherits WHERE inhparent = 'ingestion_event'::regclass"
        )
        assert cursor.fetchall() == [(3,)]


@pytest.mark.django_db(transaction=True)
def test_several_processes_write_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def fill(*args: Any, **options: Any) -> Iterator[tuple[Week, Counts]]:
        for filled in fill_weeks(*args, **options):
            done.append("filled")
            yield filled

    def attach(*args: Any, **options: Any) -> None:
        done.append("attached")
        attach_partition(*args, **options)

    monkeypatch.setattr(seed, "fill_weeks", fill)
    monkeypatch.setattr(seed, "attach_partition", attach)
    call_command("seed", events=500, tenants=5, processes=2, stdout=StringIO())
    assert Event.objects.count() == 500
    # Whoever fills a week keeps others from attaching one.
    assert "attached" in done
    assert "filled" not in done[done.index("attached") :]
    _assert_deliveries_fit()
    _assert_counts_fit()


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [{"events": 0}, {"tenants": 0}, {"processes": 0}])
def test_nonsense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(CommandError):
        call_command("seed", **wrong)
