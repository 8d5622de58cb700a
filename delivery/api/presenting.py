"""Subscriptions, deliveries and attempts as the API shows them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import Case, TextField, When
from django.db.models.functions import Left
from django.utils import timezone

from core.postgresql.portions import running_octets
from core.times import format_time
from delivery.api.delivery_schemas import AttemptShown, DeliveryDetails, DeliveryShown
from delivery.api.option_schemas import MutualTlsShown, OAuth2Shown
from delivery.api.schemas import Circuit, Health, SubscriptionShown
from delivery.delivery_ids import bounds_of_event
from delivery.endpoints.sealed_auth import show_auth
from delivery.endpoints.sealed_headers import show_headers
from delivery.models import Attempt, Delivery, DisabledReason, Subscription, SubscriptionKind, SubscriptionStatus
from delivery.shown_status import held_reason, shown_next_attempt, shown_status
from ingestion.models import Event
from organizations.models import TenantQuerySet

# A schedule has some ten attempts; more come from retries by hand.
MAX_ATTEMPTS = 100
# Of an event that very many subscriptions want, an answer shows no more than this; the rest is in their own lists.
MAX_DELIVERIES_OF_EVENT = 100
MAX_ATTEMPTS_OF_EVENT = 1_000
EXCERPT_LENGTH = 500
# Bytes. Some 25 attempts of the longest responses, which is more than any schedule has.
MAX_RESPONSES = 512 * 1024


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
        "timeout_seconds": subscription.timeout_seconds,
        "retry_schedule": subscription.retry_schedule,
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
            **_delivery_members(delivery, subscription, types.get(delivery.event_id), now), attempts=delivery.attempts
        )
        for delivery in deliveries
    ]


def describe_delivery(delivery: Delivery, subscription: Subscription) -> DeliveryDetails:
    """A delivery with the type of its event and its latest attempts."""
    events = Event.objects.for_organization(delivery.organization_id).filter(pk=delivery.event_id)
    attempts = Attempt.objects.for_organization(delivery.organization_id).filter(delivery_id=delivery.pk)
    return DeliveryDetails(
        **_delivery_members(delivery, subscription, events.values_list("type", flat=True).first(), timezone.now()),
        attempts=_describe_attempts(_with_responses(attempts).order_by("delivery_id", "-id")[:MAX_ATTEMPTS]),
    )


def _with_responses(attempts: TenantQuerySet[Attempt]) -> TenantQuerySet[Any]:
    """The responses of the newest ones as they are, up to MAX_RESPONSES together; of the others only the begin."""
    begin = Left("response", EXCERPT_LENGTH)
    shown = Case(When(_total__lte=MAX_RESPONSES, then="response"), default=begin, output_field=TextField())
    return attempts.alias(_total=running_octets("response")).annotate(excerpt=shown).defer("response")


def deliveries_of(event: Event) -> dict[str, list[DeliveryDetails]]:
    """`{"deliveries": […]}`: what became of an event."""
    rows = Delivery.objects.for_organization(event.organization_id).filter(
        pk__range=bounds_of_event(event.pk), event_id=event.pk
    )
    deliveries = list(rows.order_by("pk")[:MAX_DELIVERIES_OF_EVENT])
    subscriptions = (
        Subscription.objects.for_organization(event.organization_id)
        .light()
        .select_related("organization")
        .in_bulk({delivery.subscription_id for delivery in deliveries})
    )
    attempts = _excerpts(event.organization_id, [delivery.pk for delivery in deliveries])
    now = timezone.now()
    shown = [
        DeliveryDetails(
            **_delivery_members(delivery, subscriptions[delivery.subscription_id], event.type, now),
            attempts=_describe_attempts(attempts[delivery.pk][:MAX_ATTEMPTS]),
        )
        for delivery in deliveries
    ]
    return {"deliveries": shown}


def _excerpts(organization_id: UUID, delivery_ids: Sequence[UUID]) -> dict[UUID, list[Attempt]]:
    """The attempts by delivery, newest first, with the begin of their responses; MAX_ATTEMPTS_OF_EVENT in all."""
    rows = Attempt.objects.for_organization(organization_id).filter(delivery_id__in=delivery_ids)
    excerpts = rows.annotate(excerpt=Left("response", EXCERPT_LENGTH)).defer("response")
    found: defaultdict[UUID, list[Attempt]] = defaultdict(list)
    for attempt in excerpts.order_by("delivery_id", "-id")[:MAX_ATTEMPTS_OF_EVENT]:
        found[attempt.delivery_id].append(attempt)
    return found


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
    }


def _describe_attempts(newest_first: Iterable[Any]) -> list[AttemptShown]:
    """Oldest first; what is shown of each one's response is its `excerpt`."""
    shown = [
        AttemptShown(
            number=attempt.number,
            started_at=format_time(attempt.started_at),
            duration_ms=attempt.duration_ms,
            status_code=attempt.status_code,
            error=attempt.error or None,
            response=attempt.excerpt,
        )
        for attempt in newest_first
    ]
    return shown[::-1]


def _time(moment: datetime | None) -> str | None:
    return format_time(moment) if moment else None
