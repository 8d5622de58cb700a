"""Due deliveries are sent, recorded and retried; endpoints that fail hurt nobody but themselves."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from delivery.models import Attempt, Delivery, DeliveryStatus, Kind, Subscription, SubscriptionStatus
from delivery.operations import resume_subscription
from delivery.operations.recording import CIRCUIT_FAILURES
from delivery.operations.send import Sender
from delivery.secrets import encrypt_secret
from delivery.sending import WebhookSender
from delivery.signing import generate_secret
from ingestion.decoding import DecodedEvent
from ingestion.intake.storing import Incoming, store
from ingestion.models import Event
from ingestion.operations import process_outbox
from organizations.models import Organization
from rest.ports import DirectDatabase, run_now
from rest.waiting_ports import SingleDatabase
from tests.factories import TESTER, make_organization
from tests.receiver import Receiver, receiving

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = generate_secret()


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    settings.WEBHOOK_RETRY_SCHEDULE = [5, 300]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(SECRET) as running:
        yield running


@pytest.fixture
def organization() -> Organization:
    return make_organization()


def webhook(organization: Organization, url: str, **values: Any) -> Subscription:
    return Subscription.objects.create(
        organization=organization,
        kind=Kind.WEBHOOK,
        url=url,
        secret=encrypt_secret(SECRET),
        **{"headers": {}, "event_types": ["*"], "status": SubscriptionStatus.ACTIVE, **values},
    )


def accept(organization: Organization, count: int = 1, data: str = '{"amount": 1}') -> list[UUID]:
    event = DecodedEvent(type="invoice.paid", data=data, source=None, subject=None, time=None, idempotency_key=None)
    incoming = [Incoming(organization.pk, event) for _ in range(count)]
    run_now(store(DirectDatabase(), incoming))
    process_outbox()
    return [one.id for one in incoming]


def send_due(seconds: float = 30) -> int:
    async def run() -> int:
        database = SingleDatabase()
        async with WebhookSender.from_settings() as webhooks:
            try:
                return await Sender(database, webhooks).run(seconds=seconds)
            finally:
                await database.close()

    return asyncio.run(run())


def make_due(subscription: Subscription) -> None:
    """As if the time of the next attempt had come."""
    Delivery.objects.filter(subscription=subscription, next_attempt_at__isnull=False).update(
        next_attempt_at=timezone.now() - timedelta(seconds=1)
    )


def test_a_webhook_arrives_signed_and_is_recorded(organization: Organization, receiver: Receiver) -> None:
    subscription = webhook(organization, f"{receiver.url}/ok", headers={"x-tenant": "a"})
    (event_id,) = accept(organization)
    assert send_due() == 1
    (request,) = receiver.received
    event = Event.objects.get()
    assert request.verified
    assert request.id == str(event_id)
    assert request.headers["x-tenant"] == "a"
    body = json.loads(request.body)
    assert set(body) == {"id", "type", "timestamp", "data"}
    assert (body["id"], body["type"], body["data"]) == (str(event_id), "invoice.paid", {"amount": 1})
    delivery = Delivery.objects.get(subscription=subscription)
    assert (delivery.status, delivery.attempts, delivery.next_attempt_at) == (DeliveryStatus.DELIVERED, 1, None)
    assert delivery.delivered_at is not None
    assert delivery.delivered_at >= event.received_at
    attempt = Attempt.objects.get()
    assert (attempt.delivery_id, attempt.number, attempt.status_code, attempt.error) == (delivery.pk, 1, 200, "")
    subscription.refresh_from_db()
    assert (subscription.failures, subscription.failing_since) == (0, None)
    assert subscription.last_success_at is not None


def test_both_secrets_sign_while_one_replaces_the_other(organization: Organization, receiver: Receiver) -> None:
    new = encrypt_secret(generate_secret())
    until = timezone.now() + timedelta(hours=1)
    subscription = webhook(organization, f"{receiver.url}/ok")
    values = {"secret": new, "previous_secret": subscription.secret, "previous_secret_until": until}
    Subscription.objects.filter(pk=subscription.pk).update(**values)
    accept(organization)
    send_due()
    assert receiver.received[-1].verified
    Subscription.objects.filter(pk=subscription.pk).update(previous_secret_until=timezone.now())
    accept(organization)
    send_due()
    assert not receiver.received[-1].verified


def test_a_failure_is_tried_again_by_the_schedule_and_then_is_a_dead_letter(
    organization: Organization, receiver: Receiver
) -> None:
    subscription = webhook(organization, f"{receiver.url}/status/503")
    accept(organization)
    for number, wait in ((1, 5), (2, 300)):
        before = timezone.now()
        assert send_due() == 1
        delivery = Delivery.objects.get(subscription=subscription)
        assert (delivery.status, delivery.attempts, delivery.last_error) == ("retrying", number, "http_error")
        assert delivery.next_attempt_at is not None
        assert timedelta(seconds=wait) <= delivery.next_attempt_at - before <= timedelta(seconds=wait * 1.2 + 5)
        assert send_due() == 0
        make_due(subscription)
    assert send_due() == 1
    delivery = Delivery.objects.get(subscription=subscription)
    assert (delivery.status, delivery.attempts, delivery.next_attempt_at) == ("dead_letter", 3, None)
    assert list(Attempt.objects.order_by("pk").values_list("number", "status_code")) == [(1, 503), (2, 503), (3, 503)]
    notice = Event.objects.get(type="delivery.dead_letter")
    assert json.loads(notice.data)["delivery_id"] == str(delivery.pk)


def test_retry_after_is_obeyed(organization: Organization, receiver: Receiver) -> None:
    subscription = webhook(organization, f"{receiver.url}/busy/3600")
    accept(organization)
    send_due()
    delivery = Delivery.objects.get(subscription=subscription)
    assert delivery.next_attempt_at is not None
    assert delivery.next_attempt_at > timezone.now() + timedelta(seconds=3500)


def test_an_endpoint_that_is_gone_is_disabled_and_its_deliveries_are_held(
    organization: Organization, receiver: Receiver
) -> None:
    subscription = webhook(organization, f"{receiver.url}/gone")
    accept(organization)
    send_due()
    subscription.refresh_from_db()
    assert (subscription.status, subscription.disabled_reason) == ("disabled", "gone")
    assert Event.objects.filter(type="subscription.disabled").count() == 1
    make_due(subscription)
    assert send_due() == 0
    delivery = Delivery.objects.get(subscription=subscription)
    assert delivery.shown_status(subscription) == DeliveryStatus.HELD


def test_only_failures_for_five_days_disable_a_subscription(organization: Organization, receiver: Receiver) -> None:
    subscription = webhook(
        organization, f"{receiver.url}/status/500", failing_since=timezone.now() - timedelta(hours=121), failures=3
    )
    fresh = webhook(
        organization, f"{receiver.url}/status/502", failing_since=timezone.now() - timedelta(hours=119), failures=3
    )
    accept(organization)
    send_due()
    subscription.refresh_from_db()
    fresh.refresh_from_db()
    assert (subscription.status, subscription.disabled_reason) == ("disabled", "failing")
    assert (fresh.status, fresh.failures) == ("active", 4)


def test_a_paused_subscription_holds_and_drains(organization: Organization, receiver: Receiver) -> None:
    subscription = webhook(organization, f"{receiver.url}/ok", status=SubscriptionStatus.PAUSED)
    accept(organization, 3)
    assert send_due() == 0
    Subscription.objects.filter(pk=subscription.pk).update(status=SubscriptionStatus.ACTIVE)
    assert send_due() == 3
    assert receiver.total == 3


def test_a_resumed_subscription_does_not_wait_for_the_schedule(organization: Organization, receiver: Receiver) -> None:
    subscription = webhook(organization, f"{receiver.url}/status/500")
    accept(organization)
    send_due()
    Subscription.objects.filter(pk=subscription.pk).update(status=SubscriptionStatus.DISABLED, url=f"{receiver.url}/ok")
    assert send_due() == 0
    resume_subscription(subscription=subscription, actor=TESTER)
    assert send_due() == 1
    assert Delivery.objects.get(subscription=subscription).status == "delivered"


def test_a_circuit_opens_and_is_probed(organization: Organization, receiver: Receiver) -> None:
    subscription = webhook(organization, f"{receiver.url}/status/500", failures=CIRCUIT_FAILURES - 1)
    accept(organization, 20)
    assert send_due() == 1  # one that is failing gets one at a time, and this failure opens the circuit
    subscription.refresh_from_db()
    assert subscription.circuit_open_until is not None
    assert subscription.circuit_open_until > timezone.now()
    assert send_due() == 0
    Subscription.objects.filter(pk=subscription.pk).update(circuit_open_until=timezone.now(), url=f"{receiver.url}/ok")
    assert send_due() == 19  # the probe succeeds, the rest follows
    subscription.refresh_from_db()
    assert subscription.failures == 0
    assert subscription.circuit_open_until is None


def test_a_hanging_endpoint_holds_up_no_other(organization: Organization, receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOK_TIMEOUT_SECONDS = 5.0
    webhook(organization, f"{receiver.url}/hang")
    accept(organization, 50)
    other = make_organization()
    healthy = webhook(other, f"{receiver.url}/ok")
    accept(other, 50)
    started = time.monotonic()
    send_due(seconds=1)
    done = Delivery.objects.filter(subscription=healthy, status="delivered")
    assert done.count() == 50
    latest = max(request.at for request in receiver.received if request.path == "/ok")
    first_timeout = started + 5.0
    assert latest < first_timeout


def test_what_a_dead_sender_held_comes_again_and_is_counted_once(
    organization: Organization, receiver: Receiver
) -> None:
    subscription = webhook(organization, f"{receiver.url}/slow/0.3")
    accept(organization)

    async def lose_the_lease() -> None:
        database = SingleDatabase()
        async with WebhookSender.from_settings() as webhooks:
            running = asyncio.create_task(Sender(database, webhooks).run(seconds=30))
            await asyncio.to_thread(receiver.wait_for, 1)
            await asyncio.to_thread(make_due, subscription)  # its lease is over, though it is not dead
            other = asyncio.create_task(Sender(SingleDatabase(), webhooks).run(seconds=30))
            assert await running + await other == 2
            await database.close()

    asyncio.run(lose_the_lease())
    assert receiver.total == 2
    delivery = Delivery.objects.get(subscription=subscription)
    assert (delivery.status, delivery.attempts) == ("delivered", 1)
    assert Attempt.objects.count() == 2


def test_a_delivery_whose_event_is_gone_is_a_dead_letter(organization: Organization, receiver: Receiver) -> None:
    subscription = webhook(organization, f"{receiver.url}/ok")
    accept(organization)
    Event.objects.all().delete()
    send_due()
    delivery = Delivery.objects.get(subscription=subscription)
    assert (delivery.status, delivery.last_error, delivery.attempts) == ("dead_letter", "event_gone", 0)
    assert receiver.total == 0


def test_many_subscriptions_each_get_their_turn(organization: Organization, receiver: Receiver) -> None:
    for number in range(60):
        webhook(organization, f"{receiver.url}/ok/{number}")
    accept(organization, 20)
    assert send_due() == 1200
    assert Delivery.objects.filter(status="delivered").count() == 1200
    assert len({(request.path, request.id) for request in receiver.received}) == 1200
