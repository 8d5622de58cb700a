"""What is past its time leaves, what anybody still needs stays, and open work ends with a word."""

from datetime import datetime, timedelta
from io import StringIO
from uuid import UUID

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from uuid_utils.compat import uuid7

from core.event_ids import lowest_id
from core.partitions.drops import drop_partition
from core.partitions.making import make_partitions
from core.partitions.weeks import partitions_of, week_of
from delivery.delivery_ids import delivery_id
from delivery.models import Attempt, Delivery, DeliveryStatus, Replay, Subscription, SubscriptionKind
from delivery.operations import default_inboxes, delete_subscription
from delivery.operations.retention import EXPIRED, SUBSCRIPTION_DELETED
from ingestion.models import Event, HourlyStat, IntakeCount, OutboxEntry, ProcessingFailure, Schedule
from lifecycle.retention.running import LOCK, apply_retention, steps
from organizations.models import AuditEntry, Organization
from tests.conftest import Tenant
from tests.factories import TESTER, make_organization, make_webhook
from tests.support.servers import test_database_url

pytestmark = pytest.mark.django_db


def event_at(organization: Organization, moment: datetime, **values: object) -> Event:
    """A processed event of that time."""
    event_id = UUID(int=lowest_id(moment).int | (uuid7().int & ((1 << 80) - 1)))
    defaults = {"type": "a", "data_text": '{"n": 1}', "received_at": moment, "batch_id": uuid7()}
    return Event.objects.create(id=event_id, organization=organization, **{**defaults, **values})


def delivery_of(event: Event, subscription: Subscription, **values: object) -> Delivery:
    defaults = {"status": DeliveryStatus.DELIVERED, "created_at": event.received_at}
    return Delivery.objects.create(
        id=delivery_id(event.pk, subscription.pk),
        organization_id=event.organization_id,
        subscription=subscription,
        event_id=event.pk,
        **{**defaults, **values},
    )


def inbox_of(organization: Organization) -> Subscription:
    return Subscription.objects.get(pk=default_inboxes([organization.pk], sleep=False)[organization.pk])


def ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


def names(table: str) -> set[str]:
    return {partition.name for partition in partitions_of(table)}


def test_a_week_leaves_once_nobody_needs_it() -> None:
    free, pro = make_organization(plan="free"), make_organization(plan="pro")
    make_partitions(now=ago(50))
    make_partitions(now=ago(25))
    week = f"ingestion_event_{week_of(ago(25)):%Y%m%d}"
    old, kept = event_at(free, ago(25)), event_at(pro, ago(25))
    event_at(pro, ago(45))
    apply_retention()
    assert f"ingestion_event_{week_of(ago(45)):%Y%m%d}" not in names("ingestion_event")
    assert week in names("ingestion_event")
    # The one with the shorter period has lost its own rows there.
    assert list(Event.objects.values_list("pk", flat=True)) == [kept.pk]
    assert old.pk != kept.pk
    pro.retention_days_override = 3
    pro.save()
    apply_retention()
    assert week not in names("ingestion_event")
    assert {f"{table}_{week_of(timezone.now()):%Y%m%d}" for table in ("ingestion_event", "delivery_attempt")} <= (
        names("ingestion_event") | names("delivery_attempt")
    )


def test_a_period_ends_to_the_day_for_those_with_less_than_the_longest() -> None:
    make_organization(plan="enterprise")
    free = make_organization(plan="free")
    inbox = inbox_of(free)
    gone, kept = event_at(free, ago(7.1)), event_at(free, ago(6.9))
    for event in (gone, kept):
        delivery = delivery_of(event, inbox)
        Attempt.objects.create(id=event.pk, organization=free, subscription_id=inbox.pk, delivery_id=delivery.pk,
                               number=1, started_at=event.received_at, duration_ms=1)  # fmt: skip
    apply_retention()
    for model, field in ((Event, "pk"), (Delivery, "event_id"), (Attempt, "pk")):
        assert list(model.objects.values_list(field, flat=True)) == [kept.pk]


def test_the_default_partition_is_emptied_too() -> None:
    free = make_organization(plan="free")
    # Of a week that has no partition.
    event = event_at(free, ago(400))
    delivery_of(event, inbox_of(free))
    apply_retention()
    assert not Event.objects.exists()
    assert not Delivery.objects.exists()


def test_what_waits_to_be_processed_stays() -> None:
    free = make_organization(plan="free")
    make_partitions(now=ago(30))
    waiting, failing, given_up = (event_at(free, ago(30 - number)) for number in range(3))
    OutboxEntry.objects.create(id=waiting.batch_id, event_ids=[waiting.pk], created_at=ago(30))
    for event, due in ((failing, timezone.now()), (given_up, None)):
        ProcessingFailure.objects.create(event_id=event.pk, organization=free, error="", failed_at=ago(1),
                                         next_attempt_at=due)  # fmt: skip
    apply_retention()
    assert Event.objects.count() == 3  # what lies above the oldest that waits waits too
    OutboxEntry.objects.all().delete()
    ProcessingFailure.objects.filter(event_id=failing.pk).delete()
    apply_retention()
    assert not Event.objects.exists()
    assert not ProcessingFailure.objects.exists()


def test_open_deliveries_of_old_events_end_with_a_word() -> None:
    """First they are dead letters, then they leave with their events; the audit log keeps the number."""
    make_organization(plan="enterprise")
    free = make_organization(plan="free")
    inbox = inbox_of(free)
    event = event_at(free, ago(8))
    open_one = delivery_of(event, inbox, status=DeliveryStatus.PENDING, next_attempt_at=ago(8), lease_id=uuid7())
    leased = delivery_of(
        event_at(free, ago(8)),
        inbox,
        status=DeliveryStatus.PENDING,
        next_attempt_at=timezone.now() + timedelta(minutes=1),
        lease_id=uuid7(),
    )
    portion = apply_retention(seconds=0)
    assert portion is not None
    assert not portion.is_over
    assert Delivery.objects.count() == 2  # no time, no batch
    apply_retention()
    assert list(Delivery.objects.values_list("pk", flat=True)) == [leased.pk]
    assert Event.objects.filter(pk=leased.event_id).exists()
    entry = AuditEntry.objects.get(action="subscription.deliveries_expired")
    assert (entry.organization, entry.changes) == (free, {"deliveries": 1})
    assert open_one.pk != leased.pk


def test_a_dead_letter_by_age_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    free = make_organization(plan="free")
    delivery = delivery_of(
        event_at(free, ago(8)), inbox_of(free), status=DeliveryStatus.RETRYING, next_attempt_at=ago(1)
    )
    monkeypatch.setattr("lifecycle.retention.running.steps", _only("open deliveries of old events"))
    apply_retention()
    delivery.refresh_from_db()
    assert (delivery.status, delivery.last_error, delivery.next_attempt_at) == ("dead_letter", EXPIRED, None)


def test_open_deliveries_of_a_deleted_subscription_are_not_due_any_more(tenant: Tenant) -> None:
    webhook = Subscription.objects.create(
        organization=tenant.organization, kind=SubscriptionKind.WEBHOOK, url="https://a.example"
    )
    event = event_at(tenant.organization, ago(1))
    delivery = delivery_of(event, webhook, status=DeliveryStatus.PENDING, next_attempt_at=ago(1))
    delete_subscription(subscription=webhook, actor=TESTER)
    apply_retention()
    delivery.refresh_from_db()
    assert (delivery.status, delivery.last_error) == ("dead_letter", SUBSCRIPTION_DELETED)
    assert delivery.next_attempt_at is None
    shown = tenant.get(f"/api/v1/events/{event.pk}").json()["deliveries"]
    assert [(one["status"], one["last_error"]) for one in shown] == [("dead_letter", SUBSCRIPTION_DELETED)]


def test_a_running_replay_holds_its_events() -> None:
    free = make_organization(plan="free")
    event = event_at(free, ago(9))
    window = {"received_after": ago(10), "received_before": ago(1)}
    replay = Replay.objects.create(organization=free, subscription=inbox_of(free), total=1, **window)
    assert apply_retention() is not None
    assert Event.objects.filter(pk=event.pk).exists()
    Replay.objects.filter(pk=replay.pk).update(status="done", finished_at=ago(1))
    assert apply_retention() is not None
    assert not Event.objects.exists()
    assert Replay.objects.exists()  # its window reaches into what is kept
    Replay.objects.update(finished_at=ago(200), received_before=ago(100))
    assert apply_retention() is not None
    assert not Replay.objects.exists()


def test_what_has_left_is_not_found(tenant: Tenant) -> None:
    event = event_at(tenant.organization, ago(8))
    assert tenant.get(f"/api/v1/events/{event.pk}").status_code == 200
    apply_retention()
    assert tenant.get(f"/api/v1/events/{event.pk}").status_code == 404
    assert tenant.get("/api/v1/events").json()["data"] == []


def test_books_have_periods_of_their_own() -> None:
    free = make_organization(plan="free")
    for days in (1, 34, 36, 399, 401):
        HourlyStat.objects.create(organization=free, type="a", hour=ago(days), count=1)
        IntakeCount.objects.create(organization=free, minute=ago(days), outcome="accepted", count=1)
    for days in (1, 800):
        AuditEntry.objects.create(organization=free, actor_kind="system", action="a", created_at=ago(days))
    apply_retention()
    assert (HourlyStat.objects.count(), IntakeCount.objects.count()) == (4, 2)
    assert AuditEntry.objects.filter(action="a").count() == 1


def test_a_dry_run_shows_and_changes_nothing() -> None:
    free = make_organization(plan="free")
    make_organization(plan="pro")
    make_partitions(now=ago(80))
    event_at(free, ago(8))
    event_at(free, ago(80))
    out = StringIO()
    call_command("apply_retention", dry_run=True, stdout=out)
    lines = out.getvalue().splitlines()
    assert f"  ingestion_event_{week_of(ago(80)):%Y%m%d}" in lines
    (row,) = [line.split() for line in lines if line.startswith("ingestion_event ")]
    assert row[:5] == ["ingestion_event", "by", "plan", "2", f"{ago(80):%Y-%m-%d}"]
    assert Event.objects.count() == 2
    call_command("apply_retention", stdout=out)
    assert not Event.objects.exists()


def test_a_partition_in_use_is_left_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that comes between the look and the lock is seen under the lock."""
    free = make_organization(plan="free")
    make_partitions(now=ago(30))
    (partition,) = [one for one in partitions_of("ingestion_event") if one.week == week_of(ago(30))]
    looks = iter([False, True])
    assert drop_partition(partition, is_needed=lambda _: next(looks)) is False
    assert partition.name in names("ingestion_event")
    event_at(free, ago(30))
    assert drop_partition(partition, is_needed=lambda _: False) is True
    assert not Event.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",)


@pytest.mark.django_db(transaction=True)
def test_a_drop_waits_for_nobody() -> None:
    """Who waits for the table's lock holds up all that write: the drop gives up at once, and comes again."""
    make_partitions(now=ago(30))
    (partition,) = [one for one in partitions_of("ingestion_event") if one.week == week_of(ago(30))]
    with psycopg.connect(test_database_url()) as reader:
        reader.execute("SELECT FROM ingestion_event LIMIT 1")
        assert drop_partition(partition, is_needed=lambda _: False, tries=2) is False
        assert apply_retention(seconds=0) is not None
    assert drop_partition(partition, is_needed=lambda _: False) is True
    assert partition.name not in names("ingestion_event")


@pytest.mark.django_db(transaction=True)
def test_one_run_at_a_time() -> None:
    with psycopg.connect(test_database_url(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        assert apply_retention() is None
        with pytest.raises(CommandError, match="Another run"):
            call_command("apply_retention", stdout=StringIO())
        other.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
        assert apply_retention() is not None


def _only(what: str) -> object:
    chosen = [step for step in steps() if step.what == what]
    return lambda: chosen


def test_a_scheduled_event_is_as_old_as_its_time() -> None:
    """It waits longer than its period, and is then kept for a whole one, with its deliveries."""
    make_organization(plan="enterprise")
    free = make_organization(plan="free")
    inbox = inbox_of(free)
    make_partitions(now=ago(30))
    waiting, recent, old, cancelled = (event_at(free, ago(30)) for _ in range(4))
    for event, status, done_at in (
        (waiting, "scheduled", None),
        (recent, "handed_on", ago(1)),
        (old, "handed_on", ago(8)),
        (cancelled, "cancelled", ago(1)),
    ):
        Schedule.objects.create(event_id=event.pk, organization=free, deliver_at=ago(1), status=status, done_at=done_at)
    delivered = delivery_of(recent, inbox)
    pending = delivery_of(recent, make_webhook(free), status=DeliveryStatus.PENDING, next_attempt_at=ago(1))
    apply_retention()
    apply_retention()  # what a run lets go leaves with the next one
    assert set(Event.objects.values_list("pk", flat=True)) == {waiting.pk, recent.pk}
    assert set(Delivery.objects.values_list("pk", "status")) == {
        (delivered.pk, DeliveryStatus.DELIVERED),
        (pending.pk, DeliveryStatus.PENDING),
    }
    assert set(Schedule.objects.values_list("pk", flat=True)) == {waiting.pk, recent.pk}
    free.retention_days_override = 1
    free.save()
    Schedule.objects.update(status="handed_on", done_at=ago(2))
    apply_retention()
    apply_retention()
    assert not Event.objects.exists()
    assert not Delivery.objects.exists()
    assert not Schedule.objects.exists()
