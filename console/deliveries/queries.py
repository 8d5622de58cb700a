"""The lists of deliveries on the console's pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest
from django.utils import timezone

from console.paging import PAGE_SIZE, Listed, listed, read_id
from delivery.models import Delivery, DeliveryStatus, Subscription
from delivery.queries import newest_deliveries
from delivery.shown_status import HeldReason, held_reason, shown_next_attempt, shown_status
from ingestion.models import Event


@dataclass(frozen=True, kw_only=True)
class Row:
    """A delivery with the type of its event, which is empty once that has aged out, and how it is shown."""

    delivery: Delivery
    event_type: str
    status: DeliveryStatus
    held_reason: HeldReason | None
    next_attempt_at: datetime | None


def delivery_page(
    request: HttpRequest, subscription: Subscription, status: DeliveryStatus | None, *, size: int = PAGE_SIZE
) -> Listed[Delivery]:
    """A page of the subscription's deliveries, by one query."""
    rows = newest_deliveries(subscription, status, before=read_id(request, "before"), size=size + 1)
    return listed(list(rows.order_by("-pk")), request, size=size)


def with_types(subscription: Subscription, deliveries: Sequence[Delivery]) -> list[Row]:
    """By one query."""
    ids = [delivery.event_id for delivery in deliveries]
    events = Event.objects.for_organization(subscription.organization_id).filter(pk__in=ids)
    types = dict(events.values_list("pk", "type")) if ids else {}
    now = timezone.now()
    return [
        Row(
            delivery=delivery,
            event_type=types.get(delivery.event_id, ""),
            status=shown_status(delivery, subscription, now=now),
            held_reason=held_reason(delivery, subscription, now=now),
            next_attempt_at=shown_next_attempt(delivery, subscription, now=now),
        )
        for delivery in deliveries
    ]
