"""Pause and resume subscriptions, and try an endpoint that rests, or end its rest once it works again."""

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from core.problems import Problem
from delivery.models import Delivery, DeliveryStatus, Issue, Subscription, SubscriptionStatus
from delivery.operations.subscription_rows import CLEAN_RECORD, lock_row, log_change, rows_of
from delivery.wakeup import wake_sending
from organizations.audit import Actor

# Retries that a resumed subscription gets at once, the oldest first: a second's work in one transaction. The others
# keep the times of their schedule.
MAX_HASTENED = 10_000


@transaction.atomic
def pause_subscription(*, subscription: Subscription, actor: Actor) -> Subscription:
    """Hold its deliveries until it is resumed. A paused one stays so; a disabled one is a Problem 409."""
    moved = (
        rows_of(subscription)
        .filter(status=SubscriptionStatus.ACTIVE)
        .update(status=SubscriptionStatus.PAUSED, changed_at=Now())
    )
    if moved:
        log_change("paused", subscription, actor)
    current = lock_row(subscription)
    if current.status == SubscriptionStatus.DISABLED:
        raise Problem("wrong_state", "A disabled subscription holds its deliveries already. Resume it to enable it.")
    return current


@transaction.atomic
def resume_subscription(*, subscription: Subscription, actor: Actor) -> Subscription:
    """Deliver again, what was held first, with a clean record. Of an active one it ends the rest of the endpoint."""
    held = Q(status__in=[SubscriptionStatus.PAUSED, SubscriptionStatus.DISABLED]) | Q(circuit_open_until__isnull=False)
    moved = (
        rows_of(subscription)
        .filter(held)
        .update(
            status=SubscriptionStatus.ACTIVE,
            changed_at=Now(),
            disabled_reason="",
            disabled_at=None,
            **CLEAN_RECORD,
        )
    )
    if moved:
        _hasten_retries(subscription)
        log_change("resumed", subscription, actor)
        transaction.on_commit(wake_sending)
    return lock_row(subscription)


@transaction.atomic
def try_endpoint(*, subscription: Subscription, actor: Actor) -> None:
    """Have an endpoint that rests tried now, with the delivery that is due first. A success ends its rest.

    A failure leaves that as it is. Raises Problem 409 when it does not rest, or nothing waits for it.
    """
    resting = rows_of(subscription).filter(status=SubscriptionStatus.ACTIVE, circuit_open_until__gt=Now())
    if not resting.update(circuit_probe_at=Now()):
        raise Problem("wrong_state", "The endpoint is not resting: what is due is sent.")
    waiting = Delivery.objects.filter(subscription=subscription, next_attempt_at__isnull=False)
    first = waiting.order_by("next_attempt_at", "pk").values_list("pk", flat=True).first()
    if first is None:
        raise Problem("wrong_state", "Nothing waits for this endpoint. Send a test to try it.")
    ahead = waiting.for_organization(subscription.organization_id).filter(pk=first, lease_id=None)
    ahead.filter(next_attempt_at__gt=Now()).update(next_attempt_at=Now())
    log_change("tried", subscription, actor)
    transaction.on_commit(wake_sending)


@transaction.atomic
def close_circuit(subscription: Subscription) -> None:
    """Its endpoint works: end its rest and its issues, and send what waited for it."""
    issues = Issue.objects.for_organization(subscription.organization_id).filter(subscription=subscription)
    issues.filter(resolved_at=None).update(resolved_at=Now())
    if rows_of(subscription).filter(circuit_open_until__isnull=False).update(**CLEAN_RECORD):
        transaction.on_commit(wake_sending)


def _hasten_retries(subscription: Subscription) -> None:
    """What failed before waits for a time that may be a day ahead: whoever resumes has repaired the endpoint."""
    retries = Delivery.objects.for_organization(subscription.organization_id).filter(
        subscription=subscription, status=DeliveryStatus.RETRYING, lease_id=None
    )
    oldest = retries.select_for_update(skip_locked=True).order_by("pk")[:MAX_HASTENED]
    retries.filter(pk__in=list(oldest.values_list("pk", flat=True))).update(next_attempt_at=Now())
