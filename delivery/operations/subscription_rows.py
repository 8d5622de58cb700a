"""The row of a subscription, as the operations on it find, hold and log it."""

from typing import Any

from core.problems import Problem
from delivery.models import Subscription, SubscriptionQuerySet
from organizations.audit import Actor, record

# Of an endpoint that was repaired, or is another one.
CLEAN_RECORD: dict[str, Any] = {
    "failing_since": None,
    "failures": 0,
    "circuit_step": 0,
    "circuit_open_until": None,
    "circuit_probe_at": None,
}


def rows_of(subscription: Subscription) -> SubscriptionQuerySet:
    """The subscription, unless it was deleted meanwhile."""
    return Subscription.objects.for_organization(subscription.organization_id).not_deleted().filter(pk=subscription.pk)


def lock_row(subscription: Subscription) -> Subscription:
    """The row as it is now, held until the end of the transaction; 404 when it has just been deleted."""
    rows = rows_of(subscription).select_related("organization")
    locked = rows.select_for_update(of=("self",), no_key=True).first()
    if locked is None:
        raise Problem("not_found")
    return locked


def log_change(what: str, subscription: Subscription, actor: Actor, changes: dict[str, Any] | None = None) -> None:
    record(
        actor=actor,
        action=f"subscription.{what}",
        target=subscription,
        organization=subscription.organization,
        changes=changes,
    )
