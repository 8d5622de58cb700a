"""The status of a delivery as people and programs see it: an open one may be held by its subscription.

Pausing a subscription, suspending an organization, and the circuit that opens, change one row, however many
deliveries wait: so what is held is derived here, of one delivery and for the conditions of lists. A subscription that
is asked about brings its organization along.
"""

from datetime import datetime
from enum import StrEnum

from django.db.models import Q

from delivery.models import (
    OPEN_STATUSES,
    Delivery,
    DeliveryStatus,
    Subscription,
    SubscriptionStatus,
    is_open_until,
)

# In the order in which deliveries go through them: one that moves on while they are read one after the other is seen.
_STORED = (*OPEN_STATUSES, DeliveryStatus.DELIVERED, DeliveryStatus.DEAD_LETTER)


class HeldReason(StrEnum):
    """What a held delivery waits for. Another one is given by held_reason(), and found in lists by stored_as()."""

    PAUSED = "paused"
    DISABLED = "disabled"
    CIRCUIT_OPEN = "circuit_open"
    SUSPENDED = "suspended"
    RATE_LIMITED = "rate_limited"
    ORDER = "order"


def held_reason(delivery: Delivery, subscription: Subscription, *, now: datetime) -> HeldReason | None:
    """Why it is held, if it is. Those whose own next attempt comes after the rest of all wait for that alone."""
    if delivery.status not in OPEN_STATUSES:
        return None
    if (reason := _of_all(subscription)) is not None:
        return reason
    if delivery.next_attempt_at is None:
        return HeldReason.ORDER
    rest = _rest_of(subscription, now)
    if rest is None:
        return None
    reason, until = rest
    return reason if delivery.status == DeliveryStatus.PENDING or delivery.next_attempt_at < until else None


def shown_status(delivery: Delivery, subscription: Subscription, *, now: datetime) -> DeliveryStatus:
    return DeliveryStatus.HELD if held_reason(delivery, subscription, now=now) else DeliveryStatus(delivery.status)


def shown_next_attempt(delivery: Delivery, subscription: Subscription, *, now: datetime) -> datetime | None:
    """When it is tried next, if that is known: a time ahead. None also for what is due now."""
    reason, rest = held_reason(delivery, subscription, now=now), _rest_of(subscription, now)
    if rest is not None and reason is rest[0]:
        return rest[1]
    return delivery.next_attempt_at if reason is None and is_open_until(delivery.next_attempt_at, now) else None


def stored_as(subscription: Subscription, wanted: DeliveryStatus | None, *, now: datetime) -> list[Q]:
    """The conditions, one for each stored status, of the deliveries that are shown as `wanted`, or as anything."""
    if wanted is None:
        return [Q(status=status) for status in _STORED]
    if wanted not in (*OPEN_STATUSES, DeliveryStatus.HELD):
        return [Q(status=wanted)]
    is_held = wanted is DeliveryStatus.HELD
    if _of_all(subscription):
        return [Q(status=status) for status in OPEN_STATUSES] if is_held else []
    rest = _rest_of(subscription, now)
    if rest is None:
        return _without_a_rest(subscription, wanted)
    _, rests_until = rest
    soon = Q(status=DeliveryStatus.RETRYING, next_attempt_at__lt=rests_until)
    later = Q(status=DeliveryStatus.RETRYING, next_attempt_at__gte=rests_until)
    if is_held:
        return [Q(status=DeliveryStatus.PENDING), soon]
    return [later] if wanted is DeliveryStatus.RETRYING else []


def _without_a_rest(subscription: Subscription, wanted: DeliveryStatus) -> list[Q]:
    """Where only those are held that wait for their turn, if there is an order."""
    if wanted is DeliveryStatus.RETRYING or not subscription.has_queues:
        return [] if wanted is DeliveryStatus.HELD else [Q(status=wanted)]
    return [Q(status=DeliveryStatus.PENDING, next_attempt_at__isnull=wanted is DeliveryStatus.HELD)]


def _rest_of(subscription: Subscription, now: datetime) -> tuple[HeldReason, datetime] | None:
    """What holds the deliveries of an active subscription that are due, and until when the first of them waits."""
    rests_until, next_slot_at = subscription.circuit_open_until, subscription.next_slot_at
    if rests_until is not None and rests_until > now:
        return HeldReason.CIRCUIT_OPEN, rests_until
    if subscription.rate_limit is not None and next_slot_at is not None and next_slot_at > now:
        return HeldReason.RATE_LIMITED, next_slot_at
    return None


def _of_all(subscription: Subscription) -> HeldReason | None:
    """What holds every open delivery of the subscription, the greatest first."""
    if subscription.organization.suspended_at is not None:
        return HeldReason.SUSPENDED
    if subscription.status == SubscriptionStatus.ACTIVE:
        return None
    return HeldReason.DISABLED if subscription.status == SubscriptionStatus.DISABLED else HeldReason.PAUSED
