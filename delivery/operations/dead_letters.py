"""Dead letters get another chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from delivery.models import Delivery, DeliveryStatus, Subscription
from organizations.audit import Actor, record
from organizations.models import TenantQuerySet

# What a dead letter is set to: as if it were new, with the whole schedule before it.
DUE_AGAIN: dict[str, Any] = {
    "status": DeliveryStatus.PENDING,
    "next_attempt_at": Now(),
    "attempts": 0,
    "lease_id": None,
    "last_error": "",
}
# One transaction: some 30 ms.
DELIVERIES_PER_BATCH = 1_000
# A request ends within seconds; who has more dead letters sees what remains, and asks again.
MAX_RETRIED = 50 * DELIVERIES_PER_BATCH
MAX_COUNTED = 200_000
# Before it asks, a page counts no further: 4 ms.
MAX_SHOWN = 20_000


@dataclass(frozen=True, kw_only=True)
class CountedDeadLetters:
    """How many there are, counted up to MAX_SHOWN, and whether there are more."""

    number: int
    has_more: bool


@dataclass(frozen=True, kw_only=True)
class RetriedDeadLetters:
    """How many there were, counted up to MAX_COUNTED, and how many of them are due again."""

    total: int
    retried: int


def retry_dead_letters(*, subscription: Subscription, actor: Actor, dry_run: bool = False) -> RetriedDeadLetters:
    """Make the subscription's dead letters due again, oldest first; on a dry run, only count.

    Each batch is committed by itself, so a kill leaves each delivery a dead letter or due, and asking again goes on.
    """
    dead = Delivery.objects.for_organization(subscription.organization_id).filter(
        subscription=subscription, status=DeliveryStatus.DEAD_LETTER
    )
    total = _count(subscription, at_most=MAX_COUNTED)
    retried = 0
    if total and not dry_run:
        _note(subscription, actor, total)
        # Read once: right after a wave of failures the planner's numbers are old, and each reading may sort them all.
        ids = list(dead.order_by("pk").values_list("pk", flat=True)[:MAX_RETRIED])
        for start in range(0, len(ids), DELIVERIES_PER_BATCH):
            retried += _retry_batch(dead, ids[start : start + DELIVERIES_PER_BATCH], subscription)
    return RetriedDeadLetters(total=max(total, retried), retried=retried)


def dead_letters_of(subscription: Subscription) -> CountedDeadLetters:
    """What a page says before it asks."""
    counted = _count(subscription, at_most=MAX_SHOWN + 1)
    return CountedDeadLetters(number=min(counted, MAX_SHOWN), has_more=counted > MAX_SHOWN)


def _count(subscription: Subscription, *, at_most: int) -> int:
    """By the index on subscription and status alone; to compare the organization, too, would read every row.

    Of 67 000 dead letters that took 525 ms instead of 20.
    """
    dead = Delivery.objects.filter(subscription=subscription, status=DeliveryStatus.DEAD_LETTER)
    return dead[:at_most].count()


@transaction.atomic
def _retry_batch(dead: TenantQuerySet[Delivery], ids: Sequence[UUID], subscription: Subscription) -> int:
    """Those of `ids`, in order, that are still dead letters and in nobody's hands."""
    # The bounds keep the search to the partitions that matter.
    portion = dead.filter(pk__gte=ids[0], pk__lte=ids[-1])
    claimed = portion.filter(pk__in=ids).select_for_update(skip_locked=True).order_by("pk")
    moved = portion.filter(pk__in=list(claimed.values_list("pk", flat=True))).update(**DUE_AGAIN)
    if moved:
        transaction.on_commit(subscription.rules.wake)
    return moved


@transaction.atomic
def _note(subscription: Subscription, actor: Actor, total: int) -> None:
    """Before the first batch: a kill must not hide who began."""
    record(
        actor=actor,
        action="subscription.dead_letters_retried",
        target=subscription,
        organization=subscription.organization,
        changes={"total": total},
    )
