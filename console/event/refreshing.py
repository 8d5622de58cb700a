"""When a page that shows deliveries asks again, and whether anything has changed since."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from delivery.api.delivery_schemas import DeliveryDetails
from delivery.models import OPEN_STATUSES
from delivery.shown_status import HeldReason

# While something is about to happen, and while it is still some time away.
SOON_SECONDS, LATER_SECONDS = 2, 20
_SOON = timedelta(minutes=1)
_BY_ITSELF = {HeldReason.CIRCUIT_OPEN, HeldReason.RATE_LIMITED}


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """The page asks again after so many `seconds`, never if 0; `digest` is what it shows, in short."""

    seconds: int
    digest: str


def refresh_of(deliveries: Sequence[DeliveryDetails], *, is_sent: Iterable[bool], state: str, now: datetime) -> Refresh:
    """`is_sent`: whether each is one of a webhook, which goes on by itself; `state`: what else is shown."""
    waits = [_seconds(delivery, now) for delivery, sends in zip(deliveries, is_sent, strict=True) if sends]
    shown = [
        (str(each.id), each.status, each.held_reason or "", each.next_attempt_at or "", len(each.attempts))
        for each in deliveries
    ]
    digest = hashlib.sha256(repr((state, shown)).encode()).hexdigest()[:16]
    return Refresh(seconds=min((wait for wait in waits if wait), default=0), digest=digest)


def _seconds(delivery: DeliveryDetails, now: datetime) -> int:
    if delivery.held_reason is not None:
        return LATER_SECONDS if delivery.held_reason in _BY_ITSELF else 0
    if delivery.status not in OPEN_STATUSES:
        return 0
    due = delivery.next_attempt_at
    return LATER_SECONDS if due and datetime.fromisoformat(due) > now + _SOON else SOON_SECONDS
