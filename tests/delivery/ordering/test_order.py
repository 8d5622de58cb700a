"""Subscriptions with an order: what waits for what, and what ends a wait."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from django.utils import timezone

from core.event_ids import HIGHEST_ID
from delivery.models import Delivery, DeliveryStatus, KeyQueue, KeyQueueMember, Subscription
from delivery.operations import (
    ReplayRequest,
    SubscriptionChanges,
    ack_events,
    create_replay,
    find_inbox,
    lease_events,
    nack_events,
    run_replays,
    update_subscription,
)
from delivery.operations.retention import expire_deliveries, remove_deliveries_of_events
from delivery.ordering.queues import forget_queues, go_on_now, let_go
from delivery.shown_status import held_reason, shown_next_attempt, stored_as
from ingestion.models import ProcessingFailure
from ingestion.operations import process_outbox
from ingestion.operations.process import event_handlers, retry_failed
from tests.conftest import Tenant
from tests.factories import TESTER
from tests.support.events.delivering import webhook
from tests.support.events.ordering import end, put, take

pytestmark = pytest.mark.django_db
AN_HOUR = timedelta(hours=1)


def ordered(tenant: Tenant, **values: Any) -> Subscription:
    """A webhook that has no retries: one failure makes a dead letter."""
    options = {"order_by": "subject", "has_queues": True, "retry_schedule": [], **values}
    return webhook(tenant.organization, "https://example.com/", **options)


def send(tenant: Tenant, *subjects: str | None, **values: Any) -> list[UUID]:
    ids = put(tenant.organization, *subjects, **values)
    process_outbox()
    return ids


def row(event_id: UUID, **wanted: Any) -> Delivery:
    return Delivery.objects.select_related("subscription__organization").get(event_id=event_id, **wanted)


def is_left_over() -> bool:
    """Whether a queue has anything in it once all have gone on."""
    go_on_now()
    return KeyQueueMember.objects.exists() or KeyQueue.objects.exclude(head_id=None, next_position=None).exists()


def test_it_works(tenant: Tenant) -> None:
    subscription = ordered(tenant)
    a1, b1, a2, a3, none = send(tenant, "a", "b", "a", "a", None)
    first = take(subscription)
    assert {one.event_id for one in first} == {a1, b1, none}
    assert take(subscription) == []
    end(*first)
    (second,) = take(subscription)
    assert second.event_id == a2
    end(second)
    (third,) = take(subscription)
    assert third.event_id == a3
    number = next(one.sequence or 0 for one in first if one.event_id == a1)
    assert (second.sequence, third.sequence) == (number + 1, number + 2)
    assert next(one for one in first if one.event_id == none).sequence is None
    end(third)
    assert not is_left_over()
    (a4,) = send(tenant, "a")
    (fourth,) = take(subscription)
    assert (fourth.event_id, fourth.sequence) == (a4, number + 3)


def test_key_is_the_value_at_the_path(tenant: Tenant) -> None:
    by_account = ordered(tenant, order_by="data.account.id")
    by_type = ordered(tenant, order_by="type")
    accounts = ['{"id": 1}', '{"id": 1.0}', '{"id": "1"}', '{"id": null}', "1", '{"id": [1]}']
    ids = [send(tenant, None, data=f'{{"account": {account}}}')[0] for account in accounts]
    assert {one.event_id for one in take(by_account)} == {ids[0], *ids[2:]}
    assert [one.event_id for one in take(by_type)] == ids[:1]


def test_failing_head_holds_back_its_key_until_it_is_given_up(tenant: Tenant) -> None:
    subscription = ordered(tenant, retry_schedule=[3_600])
    a1, a2, b1 = send(tenant, "a", "a", "b")
    end(*take(subscription), status=500)
    assert take(subscription) == []
    assert held_reason(row(a2), subscription, now=timezone.now()) == "order"
    assert shown_next_attempt(row(a2), subscription, now=timezone.now()) is None
    assert held_reason(row(a1), subscription, now=timezone.now()) is None
    shown = {
        status.value: {pk for condition in stored_as(subscription, status, now=timezone.now())
                 for pk in Delivery.objects.filter(condition).values_list("event_id", flat=True)}
        for status in (DeliveryStatus.HELD, DeliveryStatus.PENDING, DeliveryStatus.RETRYING)
    }  # fmt: skip
    assert shown == {"held": {a2}, "pending": set(), "retrying": {a1, b1}}
    Delivery.objects.filter(status="retrying").update(next_attempt_at=timezone.now())
    again = take(subscription)
    assert {one.event_id for one in again} == {a1, b1}
    end(*again, status=500)
    (next_one,) = take(subscription)
    assert next_one.event_id == a2


def test_dead_letter_holds_its_key_until_somebody_retries_it(tenant: Tenant) -> None:
    subscription = ordered(tenant, on_dead_letter="hold")
    a1, a2, _ = send(tenant, "a", "a", "b")
    end(*take(subscription), status=500)
    assert take(subscription) == []
    assert row(a1).status == DeliveryStatus.DEAD_LETTER
    answer = tenant.post(f"/api/v1/deliveries/{row(a2).pk}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    answer = tenant.post(f"/api/v1/deliveries/{row(a1).pk}/retry")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    (again,) = take(subscription)
    assert (again.event_id, again.number) == (a1, 2)
    end(again)
    (after,) = take(subscription)
    assert (after.event_id, after.sequence) == (a2, (again.sequence or 0) + 1)


def test_dead_letter_holds_its_key_until_somebody_skips_it(tenant: Tenant) -> None:
    subscription = ordered(tenant, on_dead_letter="hold")
    a1, a2, a3 = send(tenant, "a", "a", "a")
    end(*take(subscription), status=500)
    path = f"/api/v1/deliveries/{row(a1).pk}/skip"
    answer = tenant.post(path)
    assert (answer.status_code, answer.json()["status"]) == (200, "dead_letter")
    answer = tenant.post(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    waiting = tenant.post(f"/api/v1/deliveries/{row(a3).pk}/skip").json()
    assert (waiting["status"], waiting["last_error"]) == ("dead_letter", "skipped")
    (after,) = take(subscription)
    assert after.event_id == a2
    assert tenant.post(f"/api/v1/deliveries/{after.id}/skip").status_code == 409
    end(after)
    assert not is_left_over()
    assert tenant.post(f"/api/v1/deliveries/{after.id}/skip").status_code == 409


def test_dead_letter_that_is_retried_later_comes_last(tenant: Tenant) -> None:
    subscription = ordered(tenant)
    a1, a2, a3 = send(tenant, "a", "a", "a")
    end(*take(subscription), status=500)
    (second,) = take(subscription)
    answer = tenant.post(f"/api/v1/subscriptions/{subscription.pk}/retry-dead-letters")
    assert answer.json()["retried"] == 1
    assert held_reason(row(a1), subscription, now=timezone.now()) == "order"
    arrived = [second]
    end(second)
    for _ in range(2):
        (one,) = take(subscription)
        arrived.append(one)
        end(one)
    assert [one.event_id for one in arrived] == [a2, a3, a1]
    assert [(one.sequence or 0) - (second.sequence or 0) for one in arrived] == [0, 1, 2]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_sent_before_all_that_was_accepted_earlier_is_processed(tenant: Tenant) -> None:
    """The worker that has the earlier entry in hand has not committed it when another has committed the later one."""
    subscription = ordered(tenant)
    (a1,) = put(tenant.organization, "a")
    first = connections.create_connection("default")
    try:
        with first.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT id FROM ingestion_outboxentry FOR UPDATE")
            a2, b1 = put(tenant.organization, "a", "b")
            process_outbox()
            assert take(subscription) == []
            assert KeyQueueMember.objects.count() == 2
            cursor.execute("ROLLBACK")
    finally:
        first.close()
    process_outbox()
    taken = take(subscription)
    assert {one.event_id for one in taken} == {a1, b1}
    end(*taken)
    assert [one.event_id for one in take(subscription)] == [a2]


def test_event_that_is_processed_after_a_failure_comes_last(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription = ordered(tenant)
    poison = put(tenant.organization, "a")[0]

    def fail(events: Any) -> None:
        if any(event.id == poison for event in events):
            raise ValueError("poison")

    a2, a3 = put(tenant.organization, "a", "a")
    with monkeypatch.context() as patched:
        patched.setattr(event_handlers, "functions", [*event_handlers, fail])
        process_outbox()
    assert ProcessingFailure.objects.count() == 1
    (second,) = take(subscription)
    assert second.event_id == a2
    retry_failed(now=timezone.now() + AN_HOUR)
    end(second)
    (third,) = take(subscription)
    end(third)
    assert [third.event_id, *(one.event_id for one in take(subscription))] == [a3, poison]


def test_lease_has_one_event_of_a_key_at_a_time(tenant: Tenant) -> None:
    found = find_inbox(organization_id=tenant.organization.pk, name="default")
    assert found
    inbox = update_subscription(subscription=found, changes=SubscriptionChanges(order_by="subject"), actor=TESTER)
    a1, a2, b1, none = send(tenant, "a", "a", "b", None)
    now = timezone.now()
    lease = lease_events(inbox=inbox, limit=10, duration=AN_HOUR, now=now)
    assert lease
    assert {one.event_id for one in lease.deliveries} == {a1, b1, none}
    nack_events(inbox=inbox, event_ids=[a2], lease_id=None, now=now)
    assert lease_events(inbox=inbox, limit=10, duration=AN_HOUR, now=now) is None
    nack_events(inbox=inbox, event_ids=[a1], lease_id=lease.id, now=now)
    again = lease_events(inbox=inbox, limit=10, duration=AN_HOUR, now=timezone.now())
    assert again
    assert [one.event_id for one in again.deliveries] == [a1]
    assert lease_events(inbox=inbox, limit=10, duration=AN_HOUR, now=timezone.now()) is None
    ack_events(inbox=inbox, event_ids=[a1, b1], lease_id=None, now=timezone.now())
    after = lease_events(inbox=inbox, limit=10, duration=AN_HOUR, now=timezone.now())
    assert after
    assert [one.event_id for one in after.deliveries] == [a2]


def test_event_that_is_acknowledged_while_it_waits_is_passed_over(tenant: Tenant) -> None:
    found = find_inbox(organization_id=tenant.organization.pk, name="default")
    assert found
    inbox = update_subscription(subscription=found, changes=SubscriptionChanges(order_by="subject"), actor=TESTER)
    a1, a2, a3 = send(tenant, "a", "a", "a")
    ack_events(inbox=inbox, event_ids=[a2, a1], lease_id=None, now=timezone.now())
    lease = lease_events(inbox=inbox, limit=10, duration=AN_HOUR, now=timezone.now())
    assert lease
    assert [one.event_id for one in lease.deliveries] == [a3]
    ack_events(inbox=inbox, event_ids=[a3], lease_id=lease.id, now=timezone.now())
    assert not is_left_over()


def test_event_that_is_leased_too_often_makes_room(tenant: Tenant) -> None:
    found = find_inbox(organization_id=tenant.organization.pk, name="default")
    assert found
    changes = SubscriptionChanges(order_by="subject", max_leases=1)
    inbox = update_subscription(subscription=found, changes=changes, actor=TESTER)
    a1, a2 = send(tenant, "a", "a")
    leases = [lease_events(inbox=inbox, limit=10, duration=timedelta(), now=timezone.now()) for _ in range(3)]
    assert [one.event_id for lease in leases if lease for one in lease.deliveries] == [a1, a2]


def test_order_of_a_sleeping_inbox_holds_from_then_on(tenant: Tenant) -> None:
    """It wakes when it gets its order: what was accepted before has none."""
    tenant.post("/api/v1/events", {"type": "t", "data": 1, "subject": "a"})
    tenant.post("/api/v1/events", {"type": "t", "data": 1, "subject": "a"})
    process_outbox()
    inbox = Subscription.objects.get(organization=tenant.organization, name="default")
    assert inbox.sleeps
    changed = tenant.client.patch(
        f"/api/v1/subscriptions/{inbox.pk}",
        {"order_by": "subject"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {tenant.plaintext}"},
    )
    assert changed.json()["on_dead_letter"] == "skip"
    send(tenant, "a", "a")
    leased = tenant.post("/api/v1/inbox/lease").json()["events"]
    assert len(leased) == 3


def test_replays_come_last_in_their_order(tenant: Tenant) -> None:
    subscription = ordered(tenant)
    old = [send(tenant, "a")[0] for _ in range(3)]
    for _ in old:
        end(*take(subscription))
    (a4,) = send(tenant, "a")
    criteria = ReplayRequest(event_ids=old)
    create_replay(subscription=subscription, criteria=criteria, actor=TESTER, now=timezone.now())
    run_replays()
    arrived = []
    for _ in range(4):
        (one,) = take(subscription)
        arrived.append(one.event_id)
        end(one)
    assert arrived == [a4, *old]
    assert not is_left_over()


def test_what_is_erased_or_too_old_is_waited_for_no_longer(tenant: Tenant) -> None:
    subscription = ordered(tenant, on_dead_letter="hold")
    a1, a2, a3 = send(tenant, "a", "a", "a")
    end(*take(subscription), status=500)
    remove_deliveries_of_events(organization_id=tenant.organization.pk, event_ids=[a1, a2])
    go_on_now()
    assert row(a3).next_attempt_at is not None
    expire_deliveries(subscription_id=subscription.pk, below=HIGHEST_ID, now=timezone.now())
    (a4,) = send(tenant, "a")
    (last,) = take(subscription)
    assert last.event_id == a4
    end(last)
    assert not is_left_over()


def test_queue_whose_head_has_left_goes_on_and_is_forgotten_when_idle(tenant: Tenant) -> None:
    """Weeks are dropped whole, with what is held in them."""
    subscription = ordered(tenant, on_dead_letter="hold")
    a1, a2 = send(tenant, "a", "a")
    end(*take(subscription), status=500)
    Delivery.objects.filter(event_id=a1).delete()
    assert take(subscription) == []
    assert let_go() == 1
    (second,) = take(subscription)
    assert second.event_id == a2
    end(second)
    assert forget_queues(before=timezone.now() + AN_HOUR) == 0
    assert not is_left_over()
    assert forget_queues(before=timezone.now() - AN_HOUR) == 0
    assert forget_queues(before=timezone.now() + AN_HOUR) == 1
    send(tenant, "a")
    assert (take(subscription)[0].sequence or 0) > (second.sequence or 0) + 1


def test_queues_of_an_order_that_was_taken_back_are_worked_off(tenant: Tenant) -> None:
    subscription = ordered(tenant, on_dead_letter="hold")
    _, a2, a3 = send(tenant, "a", "a", "a")
    end(*take(subscription), status=500)
    update_subscription(subscription=subscription, changes=SubscriptionChanges(order_by=None), actor=TESTER)
    (a4,) = send(tenant, "a")
    taken = take(subscription)
    assert {one.event_id for one in taken} == {a2, a4}
    end(*taken, status=500)
    assert [one.event_id for one in take(subscription)] == [a3]


def test_events_without_an_order_have_no_queue(tenant: Tenant) -> None:
    subscription = webhook(tenant.organization, "https://example.com/")
    send(tenant, "a", "a")
    assert len(take(subscription)) == 2
    assert not KeyQueue.objects.exists()
