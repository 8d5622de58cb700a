"""Rate limits and limits of what is in flight: they hold for all senders together, and nobody spins for them."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from django.db import connections
from django.db.models import F
from django.utils import timezone

from core.ports import SyncDatabase, run_now
from delivery.models import Delivery, DeliveryStatus, Subscription
from delivery.operations import SubscriptionChanges, update_subscription
from delivery.shown_status import HeldReason, held_reason, shown_next_attempt, shown_status, stored_as
from delivery.webhooks.claiming import AHEAD, Claimed, claim, find_due
from organizations.models import Organization
from tests.factories import TESTER, make_organization
from tests.support.events.delivering import SECRET, accept, send_due, webhook
from tests.support.http import receiver as receivers
from tests.support.http.receiver import Receiver, receiving

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(SECRET) as running:
        yield running


@pytest.fixture
def organization() -> Organization:
    return make_organization()


def claimed_of(subscription: Subscription, count: int = 100) -> list[Claimed]:
    return run_now(claim(SyncDatabase(), {subscription.pk: count}))


def claims_at_once(subscription: Subscription, senders: int) -> list[Claimed]:
    """By so many connections, which begin at the same moment."""
    begin = threading.Barrier(senders)

    def run(_: int) -> list[Claimed]:
        try:
            begin.wait()
            return claimed_of(subscription)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(senders) as pool:
        return [one for claimed in pool.map(run, range(senders)) for one in claimed]


def let_time_pass(seconds: float) -> None:
    Subscription.objects.update(next_slot_at=F("next_slot_at") - timedelta(seconds=seconds))


def test_all_senders_together_keep_the_rate(organization: Organization) -> None:
    """Whoever claims gets the next slots, a step apart; in the end each slot has been given once."""
    subscription = webhook(organization, "https://example.com/", rate_limit=20)
    accept(organization, 40)
    moments = sorted(one.send_at for one in claims_at_once(subscription, 4) if one.send_at)
    assert 5 <= len(moments) <= 1 + (AHEAD.total_seconds() + 2) * 20
    assert min(later - earlier for earlier, later in itertools.pairwise(moments)) >= timedelta(seconds=0.05)


def test_one_in_ten_seconds_is_one_in_ten_seconds(organization: Organization) -> None:
    subscription = webhook(organization, "https://example.com/", rate_limit=0.1)
    accept(organization, 3)
    [first] = claimed_of(subscription)
    assert first.send_at == first.claimed_at
    assert first.next_slot_at == first.claimed_at + timedelta(seconds=10)
    assert claimed_of(subscription) == []
    assert subscription.pk not in [pk for _, pk, _ in run_now(find_due(SyncDatabase()))]
    let_time_pass(9)
    assert claimed_of(subscription) == []
    let_time_pass(1.1)
    assert len(claimed_of(subscription)) == 1


def test_time_in_which_nothing_was_due_is_not_saved_up(organization: Organization) -> None:
    """An hour without events is no leave to send a thousand at once; and nothing due takes no slot."""
    subscription = webhook(organization, "https://example.com/", rate_limit=1)
    assert claimed_of(subscription) == []
    accept(organization, 5)
    assert len(claimed_of(subscription)) == 1
    let_time_pass(3600)
    assert len(claimed_of(subscription)) == 1


def test_another_rate_counts_at_once(organization: Organization) -> None:
    subscription = webhook(organization, "https://example.com/", rate_limit=0.1)
    accept(organization, 3)
    claimed_of(subscription)
    update_subscription(subscription=subscription, changes=SubscriptionChanges(rate_limit=5), actor=TESTER)
    assert len(claimed_of(subscription)) == 2


def test_what_waits_for_its_turn_says_so(organization: Organization) -> None:
    subscription = webhook(organization, "https://example.com/", rate_limit=0.1)
    accept(organization, 2)
    [first] = claimed_of(subscription, 1)
    waiting = Delivery.objects.exclude(pk=first.id).get(subscription=subscription)
    now = timezone.now()
    subscription = Subscription.objects.select_related("organization").get(pk=subscription.pk)
    assert held_reason(waiting, subscription, now=now) is HeldReason.RATE_LIMITED
    assert shown_status(waiting, subscription, now=now) is DeliveryStatus.HELD
    assert shown_next_attempt(waiting, subscription, now=now) == first.next_slot_at
    [of_pending, _] = stored_as(subscription, DeliveryStatus.HELD, now=now)
    assert waiting in Delivery.objects.filter(of_pending, subscription=subscription)
    assert held_reason(waiting, subscription, now=now + timedelta(seconds=11)) is None


def test_a_sender_sends_on_by_itself_evenly(organization: Organization, receiver: Receiver) -> None:
    """It is not woken again, and it does not claim for each one: the timer does, when there is a slot."""
    subscription = webhook(organization, f"{receiver.url}/ok", rate_limit=20)
    accept(organization, 10)

    def all_came() -> bool:
        return receiver.total >= 10

    send_due(all_came, is_roused=True)
    moments = [request.at for request in receiver.received]
    assert moments[-1] - moments[0] > 9 * 0.05 * 0.7
    assert Subscription.objects.get(pk=subscription.pk).next_slot_at is not None


def test_no_more_are_in_flight_than_the_limit_says(
    organization: Organization, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two senders at once, and an endpoint that counts what it holds."""
    held, most = 0, 0

    async def counting(_: Receiver, request: web.BaseRequest, __: str) -> web.StreamResponse:
        nonlocal held, most
        held += 1
        most = max(most, held)
        await asyncio.sleep(0.02)
        held -= 1
        return web.Response()

    monkeypatch.setitem(receivers._BEHAVIOURS, "counting", counting)
    webhook(organization, f"{receiver.url}/counting", max_in_flight=3)
    accept(organization, 30)

    def run(_: int) -> int:
        try:
            return send_due(lambda: receiver.total >= 30)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))
    assert receiver.total == 30
    assert len(set(receiver.ids())) == 30
    assert 1 <= most <= 3


def test_senders_that_claim_at_once_keep_to_what_may_be_in_flight(organization: Organization) -> None:
    subscription = webhook(organization, "https://example.com/", max_in_flight=5)
    accept(organization, 40)
    taken: set[UUID] = set()
    for _ in range(5):
        taken |= {one.id for one in claims_at_once(subscription, 4)}
        assert 1 <= len(taken) <= 5
    assert len(taken) == 5
    assert claimed_of(subscription) == []
    Delivery.objects.filter(pk__in=taken).update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    assert len(claimed_of(subscription)) == 5, "leases that have ended are not in flight"


def test_what_has_no_limit_is_claimed_beside_what_has_one(organization: Organization) -> None:
    free, slow = (
        webhook(organization, "https://example.com/"),
        webhook(organization, "https://a.example/", rate_limit=1),
    )
    accept(organization, 10)
    claimed = run_now(claim(SyncDatabase(), {free.pk: 10, slow.pk: 10}))
    assert [sum(one.subscription_id == each.pk for one in claimed) for each in (free, slow)] == [10, 1]
    assert all(one.send_at is None for one in claimed if one.subscription_id == free.pk)
