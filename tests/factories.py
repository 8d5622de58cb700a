"""Rows for tests."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from factory.declarations import Sequence
from factory.django import DjangoModelFactory
from uuid_utils.compat import uuid7

from core.event_ids import lowest_id
from delivery.delivery_ids import delivery_id
from delivery.models import Delivery, DeliveryStatus, Subscription, SubscriptionKind
from delivery.operations import default_inboxes
from ingestion.models import Event
from organizations.audit import Actor
from organizations.keys.scopes import Scope
from organizations.models import ApiKey, Organization
from organizations.operations import issue_key

TESTER = Actor.system("tests")


class OrganizationFactory(DjangoModelFactory[Organization]):
    class Meta:
        model = Organization

    name = Sequence(lambda number: f"Organization {number}")
    slug = Sequence(lambda number: f"organization-{number}")


class UserFactory(DjangoModelFactory[User]):
    class Meta:
        model = User

    username = Sequence(lambda number: f"user-{number}")


def make_organization(**values: Any) -> Organization:
    """A new organization, on the plan `free` unless `values` say otherwise."""
    organization: Organization = OrganizationFactory.create(**values)
    return organization


def make_key(organization: Organization | None = None, **values: Any) -> tuple[ApiKey, str]:
    """A key with every scope, and its plaintext."""
    values.setdefault("scopes", list(Scope))
    issued = issue_key(organization=organization or make_organization(), name="Test", actor=TESTER, **values)
    return issued.key, issued.plaintext


# When events that tests make were received, unless they say so.
START = datetime(2026, 1, 7, 12, tzinfo=UTC)


def make_events(organization: Organization, count: int, at: datetime = START, **values: Any) -> list[Event]:
    """Processed events, received a millisecond apart from `at` on; `data` is any JSON value."""
    data = json.dumps(values.pop("data", {"n": 1}))
    values = {"type": "invoice.paid", "data_text": data, "batch_id": uuid7(), **values}
    moments = [at + timedelta(milliseconds=number) for number in range(count)]
    return Event.objects.bulk_create(
        [Event(id=event_id_at(moment), organization=organization, received_at=moment, **values) for moment in moments],
        batch_size=5_000,
    )


def event_id_at(moment: datetime) -> UUID:
    """A UUIDv7 of this time."""
    return UUID(int=lowest_id(moment).int | (uuid7().int & (1 << 80) - 1))


def make_webhook(organization: Organization, **values: Any) -> Subscription:
    values = {"kind": SubscriptionKind.WEBHOOK, "url": "https://example.com/", **values}
    return Subscription.objects.create(organization=organization, **values)


def inbox_of(organization: Organization) -> UUID:
    """One that is awake: it has a delivery of each event that is processed."""
    inbox = default_inboxes([organization.pk], sleep=False)[organization.pk]
    Subscription.objects.filter(pk=inbox).update(sleeps=False)
    return inbox


def make_delivery(event: Event, subscription: Subscription, status: DeliveryStatus, **values: Any) -> Delivery:
    return Delivery.objects.create(
        id=delivery_id(event.pk, subscription.pk),
        organization_id=event.organization_id,
        subscription=subscription,
        event_id=event.pk,
        status=status,
        created_at=event.received_at,
        **values,
    )


def make_dead_letters(subscription: Subscription, count: int) -> list[Delivery]:
    events = make_events(subscription.organization, count)
    return [
        make_delivery(event, subscription, DeliveryStatus.DEAD_LETTER, attempts=10, last_error="timeout")
        for event in events
    ]
