"""What people do with single deliveries."""

from datetime import datetime

from django.db import transaction
from django.db.models.functions import Now

from core.problems import Problem
from delivery.models import (
    OPEN_STATUSES,
    Delivery,
    ManualRetry,
    Subscription,
    SubscriptionStatus,
    is_open_until,
)
from delivery.operations.dead_letters import DUE_AGAIN
from organizations.audit import Actor, record

# No schedule comes near it. Each is a row, with up to 20 KiB of what the endpoint answered.
MAX_ATTEMPTS = 1_000


@transaction.atomic
def retry_delivery(*, delivery: Delivery, subscription: Subscription, actor: Actor, now: datetime) -> Delivery:
    """Make it due now. One that is delivered or a dead letter starts over, with every attempt of the schedule ahead.

    A webhook is tried at once, also while its endpoint rests. While its subscription is not active it is held, and due
    when that is resumed. Raises Problem 409 when the subscription was deleted, or while somebody has taken the
    delivery: it must not be taken twice at once.
    """
    if subscription.status == SubscriptionStatus.DELETED:
        raise Problem("wrong_state", "The subscription of this delivery was deleted.")
    if is_open_until(delivery.taken_until, now):
        raise Problem("wrong_state", "The delivery is being attempted now, or held by a lease.")
    if delivery.attempts_in_all >= MAX_ATTEMPTS:
        raise Problem("limit_reached", f"It was tried {MAX_ATTEMPTS} times. Replay its event for a new delivery.")
    is_open = delivery.status in OPEN_STATUSES
    changes = {"next_attempt_at": Now()} if is_open else {**DUE_AGAIN, "delivered_at": None}
    as_it_was = {
        name: getattr(delivery, name) for name in ("status", "attempts", "lease_id", "lease_until", "next_attempt_at")
    }
    if (
        not Delivery.objects.for_organization(delivery.organization_id)
        .filter(pk=delivery.pk, **as_it_was)
        .update(**changes)
    ):
        raise Problem("wrong_state", "The delivery changed at this very moment. Look at it again.")
    record(
        actor=actor,
        action="delivery.retried",
        target=delivery,
        organization=subscription.organization,
        changes={"status": delivery.status, "attempts": delivery.attempts},
    )
    if subscription.rules.is_sent:
        if subscription.status == SubscriptionStatus.ACTIVE:
            wanted = ManualRetry(delivery_id=delivery.pk, organization_id=delivery.organization_id)
            ManualRetry.objects.bulk_create([wanted], ignore_conflicts=True)
            # Not for this delivery: whoever shows it next need not say that it is held.
            subscription.circuit_open_until = None
        transaction.on_commit(subscription.rules.wake)
    delivery.refresh_from_db()
    return delivery
