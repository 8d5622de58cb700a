"""What the tests of the console look at: an organization with events, deliveries, attempts, failures and counts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from uuid_utils.compat import uuid7

from delivery.models import Attempt, DeadLetterRetry, Delivery, DeliveryStatus, Issue, Subscription, SubscriptionKind
from delivery.operations import start_retry
from ingestion.models import IntakeCount, ProcessingFailure
from ingestion.operations import process_outbox
from organizations.models import Membership, Organization, Role
from tests.conftest import Tenant
from tests.factories import TESTER, UserFactory, inbox_of

DATA = {
    "amount": 12900,
    "customer": {"id": "cus_42", "name": "Ada & Söhne <script>alert(1)</script>", "address": {"city": "Wien"}},
    "lines": [{"sku": "A-1", "count": 2}, {"sku": "B-2", "count": 1}],
    "paid": True,
    "note": None,
}


@dataclass
class Scene:
    """`event_id` is an event with a failed webhook delivery and a waiting inbox delivery."""

    organization: Organization
    event_id: str
    failed_id: str
    webhook: Subscription
    dead: Delivery


def browser_of(user: User) -> Client:
    """A client that is signed in."""
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def make_member(organization: Organization, role: Role = Role.OWNER, **values: Any) -> User:
    user: User = UserFactory.create(**values)
    Membership.objects.create(organization=organization, user=user, role=role)
    return user


def make_scene(tenant: Tenant, *, events: int = 6) -> Scene:
    """Send `events` events and more, process them, and let one delivery have gone wrong."""
    now = timezone.now()
    inbox_of(tenant.organization)
    webhook = Subscription.objects.create(
        organization=tenant.organization,
        kind=SubscriptionKind.WEBHOOK,
        name="Billing",
        url="https://billing.example.com/hooks",
        failing_since=now - timedelta(hours=3),
        failures=4,
        last_error="http_error",
    )
    for number in range(events):
        event = {"type": "invoice.paid", "source": "/billing", "subject": f"inv_{number}", "data": DATA}
        tenant.post("/api/v1/events", event)
    tenant.post("/api/v1/events", {"type": "user.created", "source": "/accounts", "data": {"id": "usr_1"}})
    failed_id: str = tenant.post("/api/v1/events", {"type": "user.deleted", "data": [1, 2]}).json()["id"]
    event_id: str = tenant.post("/api/v1/events", {"type": "invoice.paid", "subject": "inv_last", "data": DATA}).json()[
        "id"
    ]
    process_outbox()
    ProcessingFailure.objects.create(
        event_id=failed_id, organization=tenant.organization, error="ValueError: no", failed_at=now
    )
    dead = Delivery.objects.get(event_id=event_id, subscription=webhook)
    Delivery.objects.filter(pk=dead.pk).update(
        status=DeliveryStatus.DEAD_LETTER, next_attempt_at=None, attempts=2, last_error="http_error"
    )
    dead.refresh_from_db()
    make_attempts(dead, now)
    make_counts(tenant.organization, now)
    return Scene(tenant.organization, event_id, failed_id, webhook, dead)


def make_attempts(delivery: Delivery, now: datetime) -> None:
    for number, (code, error) in enumerate([(200, ""), (503, "http_error")], start=1):
        Attempt.objects.create(
            id=uuid7(),
            organization_id=delivery.organization_id,
            subscription_id=delivery.subscription_id,
            delivery_id=delivery.pk,
            number=number,
            started_at=now,
            duration_ms=80 * number,
            status_code=code,
            error=error,
            response="<h1>Sorry</h1>",
        )


def make_counts(organization: Organization, now: datetime) -> None:
    minute = now.replace(second=0, microsecond=0)
    counts = [
        IntakeCount(
            organization=organization, minute=minute - timedelta(minutes=back * 28), outcome=outcome, count=count
        )
        for back in range(50)
        for outcome, count in (
            ("accepted", 40 + back % 7 * 9),
            ("duplicate", back % 5),
            ("validation_failed", back % 3),
        )
        if count
    ]
    # The intake of the same test may have counted in this minute already.
    unique = ["organization", "minute", "outcome"]
    IntakeCount.objects.bulk_create(counts, update_conflicts=True, unique_fields=unique, update_fields=["count"])


def make_issue(delivery: Delivery, **values: Any) -> Issue:
    """An open issue of the delivery's endpoint, which answered 503."""
    now = timezone.now()
    values = {"error": "http_error", "status_code": 503, "count": 1_240, "last_seen_at": now, **values}
    return Issue.objects.create(
        id=uuid7(),
        organization_id=delivery.organization_id,
        subscription_id=delivery.subscription_id,
        last_delivery_id=delivery.pk,
        first_seen_at=now - timedelta(days=2),
        opened_at=now - timedelta(hours=3),
        **values,
    )


def make_retry(subscription: Subscription, **values: Any) -> DeadLetterRetry:
    """A running retry of the subscription's dead letters."""
    values = {"event_types": ["*"], "error": "", **values}
    retry = DeadLetterRetry(organization=subscription.organization, subscription=subscription, **values)
    return start_retry(retry, actor=TESTER)
