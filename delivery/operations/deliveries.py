"""What people do with single deliveries."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from core.problems import Problem
from delivery.models import (
    OPEN_STATUSES,
    Delivery,
    DeliveryStatus,
    ManualRetry,
    Subscription,
    SubscriptionStatus,
    is_open_until,
)
from delivery.operations.dead_letters import DUE_AGAIN, PENDING_AGAIN, count_retried
from delivery.ordering.queues import come_back, leave_queues
from organizations.audit import Actor, record

# No schedule comes near it. Each is a row, with up to 20 KiB of what the endpoint answered.
MAX_ATTEMPTS = 1_000
# What `last_error` says of a dead letter that somebody gave up, for those behind it.
SKIPPED = "skipped"


@transaction.atomic
def retry_delivery(*, delivery: Delivery, subscription: Subscription, actor: Actor, now: datetime) -> Delivery:
    """Make it due now. One that is delivered or a dead letter starts over, with every attempt of the schedule ahead.

    A webhook is tried at once, also while its endpoint rests. While its subscription is not active it is held, and due
    when that is resumed. One that has ended and does not hold its key comes last in its queue. Raises Problem 409 when
    the subscription was deleted, while it waits for an earlier one of its key, or while somebody has taken the
    delivery: it must not be taken twice at once.
    """
    if subscription.status == SubscriptionStatus.DELETED:
        raise Problem("wrong_state", "The subscription of this delivery was deleted.")
    _require_free(delivery, now)
    if delivery.attempts_in_all >= MAX_ATTEMPTS:
        raise Problem("limit_reached", f"It was tried {MAX_ATTEMPTS} times. Replay its event for a new delivery.")
    is_open = delivery.status in OPEN_STATUSES
    if is_open and delivery.next_attempt_at is None:
        raise Problem("wrong_state", "It waits for an earlier delivery of its key. Retry or skip that one.")
    again = DUE_AGAIN if delivery.order_key is None else PENDING_AGAIN
    _change(delivery, {"next_attempt_at": Now()} if is_open else {**again, "delivered_at": None})
    if delivery.order_key is not None and not is_open:
        come_back([delivery])
    _note("delivery.retried", delivery, subscription, actor)
    if subscription.rules.is_sent:
        if subscription.status == SubscriptionStatus.ACTIVE:
            wanted = ManualRetry(delivery_id=delivery.pk, organization_id=delivery.organization_id)
            ManualRetry.objects.bulk_create([wanted], ignore_conflicts=True)
            # Not for this delivery: whoever shows it next need not say that it is held.
            subscription.circuit_open_until = None
        transaction.on_commit(subscription.rules.wake)
    delivery.refresh_from_db()
    return delivery


@transaction.atomic
def skip_delivery(*, delivery: Delivery, subscription: Subscription, actor: Actor, now: datetime) -> Delivery:
    """Have what waits behind it in its key's queue go on without it; one that was open ends as a dead letter.

    Raises Problem 409 when nothing can wait behind it, or while somebody has taken it.
    """
    if delivery.order_key is None or delivery.status == DeliveryStatus.DELIVERED:
        raise Problem("wrong_state", "Nothing waits for this delivery: it has no key, or was delivered.")
    _require_free(delivery, now)
    is_open = delivery.status in OPEN_STATUSES
    if is_open:
        ended = {"status": DeliveryStatus.DEAD_LETTER, "last_error": SKIPPED, "next_attempt_at": None}
        _change(delivery, {**ended, "lease_id": None, "lease_until": None, "retry_id": None})
        count_retried([delivery], "failed_again")
    if not leave_queues([delivery]) and not is_open:
        raise Problem("wrong_state", "Nothing waits for this dead letter: later events with its key are already sent.")
    _note("delivery.skipped", delivery, subscription, actor)
    delivery.refresh_from_db()
    return delivery


def _require_free(delivery: Delivery, now: datetime) -> None:
    if is_open_until(delivery.taken_until, now):
        raise Problem("wrong_state", "The delivery is being attempted now, or held by a lease.")


def _note(action: str, delivery: Delivery, subscription: Subscription, actor: Actor) -> None:
    """In the audit log, as it was before."""
    record(
        actor=actor,
        action=action,
        target=delivery,
        organization=subscription.organization,
        changes={"status": delivery.status, "attempts": delivery.attempts},
    )


def _change(delivery: Delivery, changes: dict[str, Any]) -> None:
    """Unless it is not any more as it was read; Problem 409 then."""
    as_it_was = {name: getattr(delivery, name) for name in ("status", "attempts", "lease_id", "next_attempt_at")}
    rows = Delivery.objects.for_organization(delivery.organization_id).filter(pk=delivery.pk, **as_it_was)
    if not rows.update(**changes):
        raise Problem("wrong_state", "The delivery changed at this very moment. Look at it again.")
