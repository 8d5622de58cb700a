"""Subscriptions, deliveries and attempts as the API shows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db.models.functions import Left
from django.utils import timezone

from core.times import format_time
from delivery.api.attempts import EXCERPT_LENGTH, attempts_of, describe_attempts, excerpts_of
from delivery.api.delivery_schemas import DeliveryDetails, DeliveryShown
from delivery.api.option_schemas import MutualTlsShown, OAuth2Shown, RateLimit
from delivery.api.schemas import Circuit, Health, SubscriptionShown
from delivery.delivery_ids import bounds_of_event
from delivery.endpoints.sealed_auth import show_auth
from delivery.endpoints.sealed_headers import show_headers
from delivery.models import Delivery, DisabledReason, OnDeadLetter, Subscription, SubscriptionKind, SubscriptionStatus
from delivery.shown_status import held_reason, shown_next_attempt, shown_status
from ingestion.models import Event

# Of an event that very many subscriptions want, an answer shows no more than this; the rest is in their own lists.
MAX_DELIVERIES_OF_EVENT = 100


def describe_subscription(subscription: Subscription, *, now: datetime) -> SubscriptionShown:
    """Without the secret, and with masked headers."""
    return SubscriptionShown(**subscription_members(subscription, now=now))


def subscription_members(subscription: Subscription, *, now: datetime) -> dict[str, Any]:
    """The members of describe_subscription()."""
    own = subscription.rules.own_fields
    circuit = _circuit(subscription, now)
    return {
        "id": subscription.pk,
        "kind": SubscriptionKind(subscription.kind),
        "name": subscription.name,
        "url": subscription.url if "url" in own else None,
        "description": subscription.description,
        "event_types": subscription.event_types,
        "filter": subscription.filter,
        "headers": show_headers(subscription.headers),
        "tags": subscription.tags,
        "order_by": subscription.order_by,
        "on_dead_letter": subscription.on_dead_letter or (OnDeadLetter.SKIP.value if subscription.order_by else None),
        "timeout_seconds": subscription.timeout_seconds,
        "retry_schedule": subscription.retry_schedule,
        "rate_limit": RateLimit(subscription.rate_limit) if subscription.rate_limit else None,
        "max_in_flight": subscription.max_in_flight,
        "signature": subscription.signature,
        "public_key": subscription.public_key or None,
        "auth": _auth(subscription.auth),
        "status": SubscriptionStatus(subscription.status),
        "disabled_reason": DisabledReason(subscription.disabled_reason) if subscription.disabled_reason else None,
        "disabled_at": _time(subscription.disabled_at),
        "created_at": format_time(subscription.created_at),
        "health": Health(
            failing_since=_time(subscription.failing_since),
            failures=subscription.failures,
            circuit=circuit,
            circuit_open_until=circuit.open_until if circuit else None,
            last_attempt_at=_time(subscription.last_attempt_at),
            last_success_at=_time(subscription.last_success_at),
            last_error=subscription.last_error or None,
        ),
        "max_leases": subscription.max_leases if "max_leases" in own else None,
    }


def _auth(stored: dict[str, Any] | None) -> OAuth2Shown | MutualTlsShown | None:
    shown = show_auth(stored)
    if shown is None:
        return None
    return msgspec.convert(shown, OAuth2Shown | MutualTlsShown)


def _circuit(subscription: Subscription, now: datetime) -> Circuit | None:
    """None once the rest is over: then the next delivery is tried, and decides."""
    until = subscription.circuit_open_until
    if until is None or until <= now:
        return None
    return Circuit(
        open_until=format_time(until),
        reason=f"The last {subscription.failures} attempts failed ({subscription.last_error or 'unknown'}).",
    )


def describe_deliveries(deliveries: Sequence[Delivery], subscription: Subscription) -> list[DeliveryShown]:
    """Deliveries of one subscription, with the types of their events."""
    organization = subscription.organization_id
    events = Event.objects.for_organization(organization).filter(pk__in=[delivery.event_id for delivery in deliveries])
    types = dict(events.values_list("pk", "type"))
    now = timezone.now()
    return [
        DeliveryShown(
            **_delivery_members(delivery, subscription, types.get(delivery.event_id), now),
            attempts=delivery.attempts_in_all,
        )
        for delivery in deliveries
    ]


def describe_delivery(delivery: Delivery, subscription: Subscription) -> DeliveryDetails:
    """A delivery with the type of its event and its latest attempts."""
    events = Event.objects.for_organization(delivery.organization_id).filter(pk=delivery.event_id)
    return DeliveryDetails(
        **_delivery_members(delivery, subscription, events.values_list("type", flat=True).first(), timezone.now()),
        attempts=attempts_of(delivery),
    )


def deliveries_of(event: Event) -> dict[str, list[DeliveryDetails]]:
    """`{"deliveries": […]}`: what became of an event."""
    rows = Delivery.objects.for_organization(event.organization_id).filter(
        pk__range=bounds_of_event(event.pk), event_id=event.pk
    )
    excerpted = rows.annotate(first_excerpt=Left("first_response", EXCERPT_LENGTH)).defer("first_response")
    deliveries: list[Any] = list(excerpted.order_by("pk")[:MAX_DELIVERIES_OF_EVENT])
    subscriptions = (
        Subscription.objects.for_organization(event.organization_id)
        .light()
        .select_related("organization")
        .in_bulk({delivery.subscription_id for delivery in deliveries})
    )
    attempts = excerpts_of(event.organization_id, [delivery.pk for delivery in deliveries])
    now = timezone.now()
    shown = [
        DeliveryDetails(
            **_delivery_members(delivery, subscriptions[delivery.subscription_id], event.type, now),
            attempts=describe_attempts(delivery, attempts[delivery.pk], first_response=delivery.first_excerpt or ""),
        )
        for delivery in deliveries
    ]
    return {"deliveries": shown}


def _delivery_members(
    delivery: Delivery, subscription: Subscription, event_type: str | None, now: datetime
) -> dict[str, Any]:
    """The fields of DeliveryFields."""
    held = held_reason(delivery, subscription, now=now)
    return {
        "id": delivery.pk,
        "subscription": subscription.pk,
        "event_id": delivery.event_id,
        "event_type": event_type,
        "status": shown_status(delivery, subscription, now=now).value,
        "held_reason": held,
        "next_attempt_at": _time(shown_next_attempt(delivery, subscription, now=now)),
        "last_error": delivery.last_error or None,
        "created_at": format_time(delivery.created_at),
        "delivered_at": _time(delivery.delivered_at),
        "replay_id": delivery.replay_id,
        "sequence": delivery.sequence,
    }


def _time(moment: datetime | None) -> str | None:
    return format_time(moment) if moment else None
