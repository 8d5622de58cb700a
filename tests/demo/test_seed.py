"""The made-up history is one that the platform could have written itself."""

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from psycopg.errors import DiskFull

from core.partitions.making import attach_partition
from core.partitions.weeks import WEEK
from delivery.delivery_ids import delivery_id
from delivery.models import Attempt, Delivery
from demo.management.commands import seed
from demo.seeding import processes
from demo.seeding.filling import NotWrittenError, Week, table_of
from demo.seeding.history import Counts
from demo.seeding.plan import Plan
from demo.seeding.processes import fill_weeks
from demo.seeding.tenants import make_tenants
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


@pytest.mark.django_db(transaction=True)
def test_a_week_that_fails_ends_the_processes_of_the_others() -> None:
    """Of two weeks one waits for a lock that nobody gives back, and one finds something in the place of its table."""
    now = timezone.now()
    plan = Plan(tenants=make_tenants(1), now=now, events=100, random_seed=1)
    waits = Week(start=now, end=now + WEEK, numbers=range(50, 100), new=())
    fails = Week(start=now - WEEK, end=now, numbers=range(50), new=("ingestion_event",))
    name = table_of("ingestion_event", fails.start)
    said = f"^The week of {fails.start:%Y-%m-%d} was not written: WrongObjectType, "
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE VIEW {name} AS SELECT 1")
        try:
            with transaction.atomic():
                cursor.execute("LOCK ingestion_event IN SHARE MODE")
                with pytest.raises(NotWrittenError, match=said):
                    list(fill_weeks(seed._conninfo(), plan, [waits, fails], processes=2, report=int))
        finally:
            cursor.execute(f"DROP VIEW {name}")


@pytest.mark.django_db(transaction=True)
def test_a_process_that_is_killed_is_told_with_the_weeks_that_it_may_have_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def kill(*_: object) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    monkeypatch.setattr(processes, "_tell", kill)
    now = timezone.now()
    plan = Plan(tenants=make_tenants(1), now=now, events=100, random_seed=1)
    week = Week(start=now, end=now + WEEK, numbers=range(100), new=())
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute("LOCK delivery_attempt IN SHARE MODE")
        with pytest.raises(NotWrittenError, match="was not written: a process was killed"):
            list(fill_weeks(seed._conninfo(), plan, [week], processes=2, report=int))


@pytest.mark.django_db
def test_the_command_says_which_week_failed_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Counts:
        raise DiskFull("could not extend file: No space left on device\nHINT: Check free disk space.")

    monkeypatch.setattr(seed, "fill_week", refuse)
    said = r"^The week of \d{4}-\d\d-\d\d was not written: DiskFull, could not extend file: No space left on device\. "
    with pytest.raises(CommandError, match=said):
        call_command("seed", events=5, tenants=1, stdout=StringIO())


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [{"events": 0}, {"tenants": 0}, {"processes": 0}])
def test_nonsense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(CommandError):
        call_command("seed", **wrong)
