"""What the page of one event shows: the event, its data, and its way to every subscription."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import Q
from django.utils import timezone

from console.access import OrganizationContext
from console.event.passed_over import PassedOver, passed_over
from console.event.refreshing import Refresh, refresh_of
from console.events.outcomes import Outcome, outcome_of, with_outcomes
from core.event_ids import time_of
from delivery.api.delivery_schemas import DeliveryDetails
from delivery.api.presenting import MAX_DELIVERIES_OF_EVENT, deliveries_of
from delivery.models import DeliveryStatus, Subscription, SubscriptionStatus
from delivery.shown_status import HeldReason
from ingestion.models import Event, ProcessingFailure

_SUBSCRIPTIONS = 200


@dataclass(frozen=True, kw_only=True)
class Step:
    """A delivery of the event with the subscription that it goes to, and the label of its button."""

    delivery: DeliveryDetails
    subscription: Subscription | None
    button: str


@dataclass(frozen=True, kw_only=True)
class Story:
    """The event's way through the platform. `targets` are the subscriptions that it can be replayed to.

    `passed_over` are some of those that got no delivery, when all deliveries are shown.
    """

    outcome: Outcome
    refresh: Refresh
    steps: list[Step]
    targets: list[Subscription]
    passed_over: list[PassedOver]
    failure: ProcessingFailure | None


def story_of(event: Event) -> Story:
    deliveries = deliveries_of(event)["deliveries"]
    wanted = Q(pk__in=[delivery.subscription for delivery in deliveries]) | ~Q(status=SubscriptionStatus.DELETED)
    rows = Subscription.objects.for_organization(event.organization_id).filter(wanted).light()
    subscriptions = {row.pk: row for row in rows.order_by("kind", "name", "pk")[:_SUBSCRIPTIONS]}
    failures = ProcessingFailure.objects.for_organization(event.organization_id)
    others = _passed_over(event, subscriptions, deliveries)
    refusing = {each.subscription.pk for each in others if not each.takes_it}
    steps = [_step(delivery, subscriptions.get(delivery.subscription)) for delivery in deliveries]
    outcome = _outcome_of(event, deliveries)
    is_sent = [bool(step.subscription and step.subscription.rules.is_sent) for step in steps]
    return Story(
        outcome=outcome,
        refresh=refresh_of(deliveries, is_sent=is_sent, state=f"{event.status} {outcome.text}", now=timezone.now()),
        steps=steps,
        passed_over=others,
        targets=[
            row for row in subscriptions.values() if row.status != SubscriptionStatus.DELETED and row.pk not in refusing
        ],
        failure=failures.filter(pk=event.pk).first(),
    )


def annotations_of(event: Event) -> dict[str, Any]:
    """`{"attributes"?: {…}, "schema_errors"?: […], "headers"?: {…}, "headers_left_out"?: <count>}`."""
    return dict(msgspec.json.decode(event.annotations)) if event.annotations else {}


def is_past_retention(place: OrganizationContext, event_id: UUID, *, now: datetime) -> bool:
    """Whether an event of this id would be gone by now; ids tell their time."""
    return time_of(event_id) < now - timedelta(days=place.organization.limits.retention_days)


def _passed_over(
    event: Event, subscriptions: dict[UUID, Subscription], deliveries: list[DeliveryDetails]
) -> list[PassedOver]:
    """Nobody when some deliveries are not shown: those may be theirs."""
    if len(deliveries) >= MAX_DELIVERIES_OF_EVENT:
        return []
    return passed_over(event, list(subscriptions.values()), {delivery.subscription for delivery in deliveries})


def _outcome_of(event: Event, deliveries: list[DeliveryDetails]) -> Outcome:
    """Of all deliveries, also of those that are not shown."""
    if len(deliveries) >= MAX_DELIVERIES_OF_EVENT:
        return with_outcomes([event])[0].outcome
    return outcome_of(event.status, Counter[str](delivery.status for delivery in deliveries))


def _step(delivery: DeliveryDetails, subscription: Subscription | None) -> Step:
    is_gone = subscription is None or subscription.status == SubscriptionStatus.DELETED
    labels = {
        DeliveryStatus.DELIVERED: "Deliver again",
        DeliveryStatus.DEAD_LETTER: "Retry",
        DeliveryStatus.RETRYING: "Retry now",
        DeliveryStatus.PENDING: "",
        DeliveryStatus.HELD: "Try now" if delivery.held_reason == HeldReason.CIRCUIT_OPEN else "",
    }
    button = "" if is_gone else labels[DeliveryStatus(delivery.status)]
    return Step(delivery=delivery, subscription=subscription, button=button)
