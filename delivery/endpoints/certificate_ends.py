"""Client certificates that end soon: nothing can be delivered with one that has ended."""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction

from delivery.models import Subscription

WARNED_AHEAD = timedelta(days=14)
# More in one look would hold its transaction for long; the next one goes on.
_AT_ONCE = 100


def is_end_near(subscription: Subscription, *, now: datetime) -> bool:
    """Whether its certificate has ended, or does so within WARNED_AHEAD."""
    ends = subscription.auth_expires_at
    return ends is not None and ends <= now + WARNED_AHEAD


@transaction.atomic
def tell_ends(tell: Callable[[Subscription], None], *, now: datetime) -> int:
    """Have each subscription told about once whose certificate ends soon; returns how many were."""
    near = Subscription.objects.not_deleted().filter(auth_expires_at__lte=now + WARNED_AHEAD, auth_end_told_at=None)
    locked = near.filter(organization__suspended_at=None).select_for_update(skip_locked=True, no_key=True, of=("self",))
    found = list(locked.order_by("pk")[:_AT_ONCE])
    for subscription in found:
        tell(subscription)
    Subscription.objects.filter(pk__in=[one.pk for one in found]).update(auth_end_told_at=now)
    return len(found)
