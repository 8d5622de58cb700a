"""Due deliveries are sent, recorded and retried; endpoints that fail hurt nobody but themselves."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from io import StringIO
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.core.management import call_command
from django.db.models import F, QuerySet
from django.utils import timezone

from core.ports import Parameters, SyncDatabase, run_now
from core.ports.asynchronous import SingleDatabase
from core.postgresql.floors import Floors
from core.problems import Problem
from core.secrets import encrypt_secret
from delivery.api.attempts import attempts_of
from delivery.attempt_errors import AttemptError
from delivery.models import (
    Attempt,
    Delivery,
    DeliveryStatus,
    ManualRetry,
    Subscription,
    SubscriptionStatus,
)
from delivery.operations import resume_subscription, retry_delivery
from delivery.shown_status import held_reason, shown_status
from delivery.webhooks.claiming import Claimed, claim
from delivery.webhooks.recording import CIRCUIT_FAILURES, AttemptOutcome, record_outcomes
from delivery.webhooks.sender import Sender
from delivery.webhooks.sending import AttemptResult, WebhookSender
from delivery.webhooks.signing import generate_secret
from delivery.webhooks.test_send import send_test
from ingestion.models import Event
from organizations.models import Organization
from organizations.operations import resume_organization, suspend_organization
from tests.factories import TESTER, make_organization
from tests.support.events.delivering import SECRET, accept, in_thread, send_due, webhook
from tests.support.http.receiver import Receiver, receiving
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


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


def make_due(subscription: Subscription) -> None:
    """As if the time of the next attempt had come."""
    over = timezone.now() - timedelta(seconds=1)
    Delivery.objects.filter(subscription=subscription, next_attempt_at__isnull=False).update(
        next_attempt_at=over, lease_until=over
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
    assert not Attempt.objects.exists(), "a first attempt that succeeds has no row"
    (attempt,) = attempts_of(delivery)
    assert (attempt.number, attempt.status_code, attempt.error, attempt.error_detail) == (1, 200, None, None)
    assert (attempt.url, attempt.remote_address) == (f"{receiver.url}/ok", "127.0.0.1")
    assert (attempt.response, attempt.response_body) == ("taken", "taken")
    assert attempt.timings is not None
    assert attempt.timings.total_ms == attempt.duration_ms
    sent = {name.lower(): value for name, value in (attempt.request_headers or {}).items()}
    assert sent == {**request.headers, "x-tenant": "****"}
    assert (attempt.response_headers or {})["Content-Length"] == "5"
    subscription.refresh_from_db()
    assert (subscription.failures, subscription.failing_since) == (0, None)
    assert subscription.last_success_at is not None


def test_attempts_are_numbered_through_over_retries_by_hand(organization: Organization, receiver: Receiver) -> None:
    subscription = webhook(organization, f"{receiver.url}/hook")
    accept(organization)
    delivery = Delivery.objects.get(subscription=subscription)
    for behaviour, status in (("status/200", 200), ("status/500", 500), ("status/503", 503), ("status/201", 201)):
        receiver.behave("/hook", behaviour)
        send_due()
        delivery.refresh_from_db()
        assert attempts_of(delivery)[-1].status_code == status
        if behaviour == "status/500":
            make_due(subscription)
        else:
            retry_delivery(delivery=delivery, subscription=subscription, actor=TESTER, now=timezone.now())
    shown = attempts_of(delivery)
    assert [(attempt.number, attempt.status_code) for attempt in shown] == [(1, 200), (2, 500), (3, 503), (4, 201)]
    assert Attempt.objects.count() == 3
    assert [bool(attempt.error_detail) for attempt in shown] == [False, True, True, False]
    delivery.refresh_from_db()
    assert (delivery.attempts, delivery.attempts_in_all) == (0, 4), "with every attempt of the schedule ahead"


def test_a_first_success_is_recorded_once_and_not_lost_when_another_has_the_delivery(
    organization: Organization, receiver: Receiver
) -> None:
    """PostgreSQL's answer to a record may be lost, and a sender that was thought dead may come back."""
    subscription = webhook(organization, f"{receiver.url}/ok")
    accept(organization)
    (claimed,) = run_now(claim(SyncDatabase(), {subscription.pk: 1}))
    mine, late = (succeeded(claimed, text) for text in ("mine", "late"))
    for outcome in (mine, mine, late, late):
        run_now(record_outcomes(SyncDatabase(), [outcome]))
    delivery = Delivery.objects.get(subscription=subscription)
    shown = attempts_of(delivery)
    assert sorted((attempt.number, attempt.response) for attempt in shown) == [(1, "late"), (1, "mine")]
    assert delivery.attempts == 1


def succeeded(claimed: Claimed, text: str) -> AttemptOutcome:
    result = AttemptResult(
        error=None,
        status=200,
        detail=text,
        duration_ms=1,
        response_text=text,
        response_truncated=False,
        retry_after=None,
        remote_address=None,
    )
    return AttemptOutcome(claimed=claimed, started_at=claimed.claimed_at, result=result)


def test_a_webhook_is_not_longer_than_its_event_was(organization: Organization, receiver: Receiver) -> None:
    """jsonb shows such a number with 309 digits."""
    webhook(organization, f"{receiver.url}/ok")
    accept(organization, data="[" + ",".join(["1e308"] * 1_000) + "]")
    assert send_due() == 1
    (request,) = receiver.received
    assert request.verified
    assert len(request.body) < 8_000
    assert json.loads(request.body)["data"] == [1e308] * 1_000


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
    assert shown_status(delivery, subscription, now=timezone.now()) == DeliveryStatus.HELD


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


def test_a_suspended_organization_holds_what_is_due_and_drains(organization: Organization, receiver: Receiver) -> None:
    """Whatever hints there are, and whatever somebody of the staff wants tried at once; nobody else waits for it."""
    subscription, other = webhook(organization, f"{receiver.url}/ok"), make_organization()
    webhook(other, f"{receiver.url}/other")
    accept(organization, 3)
    suspend_organization(organization=organization, reason="unpaid", actor=TESTER)
    by_hand = Delivery.objects.filter(subscription=subscription)[0]
    retry_delivery(delivery=by_hand, subscription=subscription, actor=TESTER, now=timezone.now())
    accept(other)
    assert run_now(claim(SyncDatabase(), {subscription.pk: 3})) == []
    assert send_due() == 1
    assert [request.path for request in receiver.received] == ["/other"]
    waiting = Delivery.objects.filter(subscription=subscription)
    assert {(row.status, row.attempts, row.lease_id) for row in waiting} == {("pending", 0, None)}
    subscription.organization.refresh_from_db()
    assert held_reason(waiting[0], subscription, now=timezone.now()) == "suspended"
    resume_organization(organization=organization, actor=TESTER)
    assert send_due() == 3
    assert not waiting.exclude(status=DeliveryStatus.DELIVERED).exists()


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
    let_time_pass(subscription, 10)
    Subscription.objects.filter(pk=subscription.pk).update(url=f"{receiver.url}/ok")
    assert send_due() == 19  # the probe succeeds, the rest follows
    subscription.refresh_from_db()
    assert (subscription.failures, subscription.circuit_step) == (0, 0)
    assert [subscription.circuit_open_until, subscription.circuit_probe_at] == [None, None]


def rest_of(subscription: Subscription) -> tuple[int, int]:
    """How long the circuit is open still, and how long until one may try, to 5 s: some pass while a test looks."""
    subscription.refresh_from_db()
    assert subscription.circuit_open_until is not None
    assert subscription.circuit_probe_at is not None
    now = timezone.now()
    until, probe = subscription.circuit_open_until - now, subscription.circuit_probe_at - now
    return 5 * round(until.total_seconds() / 5), 5 * round(probe.total_seconds() / 5)


def let_time_pass(subscription: Subscription, seconds: int) -> None:
    passed = timedelta(seconds=seconds)
    Subscription.objects.filter(pk=subscription.pk).update(
        circuit_open_until=F("circuit_open_until") - passed, circuit_probe_at=F("circuit_probe_at") - passed
    )


def test_a_burst_of_failures_is_one_step_and_each_failed_probe_another(
    organization: Organization, receiver: Receiver
) -> None:
    subscription = webhook(organization, f"{receiver.url}/status/500")
    accept(organization, 60)
    claimed = run_now(claim(SyncDatabase(), {subscription.pk: 60}))
    early, late = claimed[:40], claimed[40:]
    record_failures(early)
    assert rest_of(subscription) == (10, 5)
    record_failures(late)  # in flight when the circuit opened: they say nothing new
    assert rest_of(subscription) == (10, 5)
    make_due(subscription)
    for rests, (pause, half) in enumerate([(20, 10), (40, 20), (80, 40), (160, 80), (300, 150), (300, 150)]):
        let_time_pass(subscription, [5, 10, 20, 40, 80, 150][rests])
        assert send_due() == 1, "one in the middle of the rest"
        until, probe = rest_of(subscription)
        assert until == probe, "it changes nothing but that no other one tries before the end"
        let_time_pass(subscription, until + 5)
        make_due(subscription)
        assert send_due() == 1, "the probe"
        assert rest_of(subscription) == (pause, half)
        make_due(subscription)


def record_failures(claimed: Sequence[Claimed]) -> None:
    refused = AttemptResult(
        error=AttemptError.CONNECTION_REFUSED,
        status=None,
        detail="",
        duration_ms=1,
        response_text="",
        response_truncated=False,
        retry_after=None,
        remote_address=None,
    )
    outcomes = [AttemptOutcome(claimed=one, started_at=one.claimed_at, result=refused) for one in claimed]
    run_now(record_outcomes(SyncDatabase(), outcomes))


def test_a_retry_by_hand_goes_through_an_open_circuit_and_its_success_closes_it(
    organization: Organization, receiver: Receiver
) -> None:
    subscription = resting(organization, f"{receiver.url}/ok")
    accept(organization, 3)
    assert send_due() == 0
    delivery = Delivery.objects.filter(subscription=subscription).latest("pk")
    retry_delivery(delivery=delivery, subscription=subscription, actor=TESTER, now=timezone.now())
    assert send_due() == 3
    assert receiver.received[0].id == str(delivery.event_id), "the one that was asked for comes first"
    subscription.refresh_from_db()
    assert subscription.circuit_open_until is None
    assert not ManualRetry.objects.exists()


def test_a_retry_by_hand_that_fails_leaves_the_circuit_as_it_is(organization: Organization, receiver: Receiver) -> None:
    subscription = resting(organization, f"{receiver.url}/status/500")
    accept(organization, 3)
    delivery = Delivery.objects.filter(subscription=subscription).latest("pk")
    retry_delivery(delivery=delivery, subscription=subscription, actor=TESTER, now=timezone.now())
    assert send_due() == 1
    assert rest_of(subscription) == (200, 100)


def test_a_test_that_succeeds_closes_the_circuit(organization: Organization, receiver: Receiver) -> None:
    subscription = resting(organization, f"{receiver.url}/ok")
    accept(organization, 3)
    outcome = send_test(subscription=subscription, event_type="t", data="1", actor=TESTER, now=timezone.now())
    assert outcome.result.delivered
    assert send_due() == 3


def test_resuming_an_active_subscription_ends_its_rest(organization: Organization, receiver: Receiver) -> None:
    subscription = resting(organization, f"{receiver.url}/ok")
    accept(organization, 3)
    resume_subscription(subscription=subscription, actor=TESTER)
    assert send_due() == 3


def resting(organization: Organization, url: str) -> Subscription:
    return webhook(
        organization,
        url,
        failures=40,
        failing_since=timezone.now(),
        circuit_step=6,
        circuit_open_until=timezone.now() + timedelta(seconds=200),
        circuit_probe_at=timezone.now() + timedelta(seconds=100),
    )


def test_a_hanging_endpoint_holds_up_no_other(organization: Organization, receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOK_TIMEOUT_SECONDS = 5.0
    webhook(organization, f"{receiver.url}/hang")
    accept(organization, 50)
    other = make_organization()
    healthy = webhook(other, f"{receiver.url}/ok")
    accept(other, 50)
    started = time.monotonic()
    done = Delivery.objects.filter(subscription=healthy, status="delivered")
    send_due(until=lambda: done.count() == 50)
    assert done.count() == 50
    latest = max(request.at for request in receiver.received if request.path == "/ok")
    first_timeout = started + 5.0
    assert latest < first_timeout


def test_claiming_goes_on_while_slow_endpoints_are_waited_for(organization: Organization, receiver: Receiver) -> None:
    webhook(organization, f"{receiver.url}/hang")
    accept(organization, 50)
    other = make_organization()
    healthy = webhook(other, f"{receiver.url}/ok")
    delivered = Delivery.objects.filter(subscription=healthy, status="delivered")

    async def run() -> None:
        database = SingleDatabase()
        async with WebhookSender.from_settings() as webhooks:
            sender = Sender(database, webhooks)
            running = asyncio.create_task(sender.run())
            await in_thread(receiver.wait_for, 1)  # it hangs for as long as this test takes
            for count in (1, 2, 3):
                await in_thread(accept, other)
                sender.wake([(other.pk, healthy.pk)])
                await in_thread(wait_until, partial(_has, delivered, count))
            assert not running.done()
            running.cancel()
            await database.close()

    asyncio.run(run())


def _has(deliveries: QuerySet[Delivery], count: int) -> bool:
    return deliveries.count() == count


def test_a_record_waits_for_postgresql_and_nothing_is_sent_twice(
    organization: Organization, receiver: Receiver
) -> None:
    subscription = webhook(organization, f"{receiver.url}/ok")
    accept(organization)

    class AwayAfterTheClaim(SingleDatabase):
        failures = 2

        async def fetch(self, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
            if "delivery_attempt" in statement and self.failures:
                self.failures -= 1
                raise psycopg.OperationalError("away")
            return await super().fetch(statement, parameters)

    async def run() -> int:
        database = AwayAfterTheClaim()
        async with WebhookSender.from_settings() as webhooks:
            sent = await Sender(database, webhooks).run()
        await database.close()
        return sent

    assert asyncio.run(run()) == 1
    assert receiver.total == 1
    delivery = Delivery.objects.get(subscription=subscription)
    assert (delivery.status, delivery.attempts) == ("delivered", 1)
    assert len(attempts_of(delivery)) == 1


def test_what_a_dead_sender_held_comes_again_and_is_counted_once(
    organization: Organization, receiver: Receiver
) -> None:
    subscription = webhook(organization, f"{receiver.url}/together/2")
    accept(organization)

    async def lose_the_lease() -> None:
        database = SingleDatabase()
        async with WebhookSender.from_settings() as webhooks:
            running = asyncio.create_task(Sender(database, webhooks).run())
            await in_thread(receiver.wait_for, 1)
            await in_thread(make_due, subscription)  # its lease is over, though it is not dead
            others = SingleDatabase()
            other = asyncio.create_task(Sender(others, webhooks).run())
            assert await running + await other == 2
            await database.close()
            await others.close()

    asyncio.run(lose_the_lease())
    assert receiver.total == 2
    delivery = Delivery.objects.get(subscription=subscription)
    assert (delivery.status, delivery.attempts) == ("delivered", 1)
    assert len(attempts_of(delivery)) == 2


def test_what_became_due_in_the_past_is_sent_though_searches_from_the_beginning_take_long(
    organization: Organization, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As beside a dump; a lease that ended, for example, lies before what was found last."""
    monkeypatch.setattr("core.postgresql.floors._CHEAP_SECONDS", 0.0)
    subscription = webhook(organization, f"{receiver.url}/ok")
    floors: Floors[UUID] = Floors()
    accept(organization)
    assert len(run_now(claim(SyncDatabase(), {subscription.pk: 10}, floors))) == 1
    accept(organization)
    late = Delivery.objects.filter(subscription=subscription, lease_id=None)
    late.update(next_attempt_at=timezone.now() - timedelta(hours=1))
    monkeypatch.setattr(floors, "_whole_not_before", time.monotonic() + 3600)
    assert run_now(claim(SyncDatabase(), {subscription.pk: 10}, floors)) == []
    assert not floors.is_whole
    monkeypatch.setattr(floors, "_whole_not_before", 0.0)
    assert len(run_now(claim(SyncDatabase(), {subscription.pk: 10}, floors))) == 1


@pytest.mark.parametrize("older", [False, True])
def test_what_is_taken_is_held_and_older_code_sees_it_too(
    organization: Organization, older: bool, request: pytest.FixtureRequest
) -> None:
    subscription = webhook(organization, "http://127.0.0.1:9/")
    accept(organization)
    if older:
        call_command("store_data", "both", stdout=StringIO())
        request.addfinalizer(partial(call_command, "store_data", "text", stdout=StringIO()))
    due_since = Delivery.objects.get(subscription=subscription).next_attempt_at
    (claimed,) = run_now(claim(SyncDatabase(), {subscription.pk: 1}))
    assert run_now(claim(SyncDatabase(), {subscription.pk: 1})) == []
    taken = Delivery.objects.get(subscription=subscription)
    assert taken.lease_until is not None
    assert taken.lease_until > claimed.claimed_at
    assert taken.next_attempt_at == (taken.lease_until if older else due_since)
    with pytest.raises(Problem):
        retry_delivery(delivery=taken, subscription=subscription, actor=TESTER, now=timezone.now())
    make_due(subscription)
    assert len(run_now(claim(SyncDatabase(), {subscription.pk: 1}))) == 1


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
