"""The lists of deliveries on the console's pages."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from console.paging import PAGE_SIZE, Listed, listed, read_id
from delivery.models import Delivery, DeliveryStatus, Subscription
from delivery.shown_status import shown_status, stored_as
from ingestion.models import Event
from organizations.models import TenantQuerySet


@dataclass(frozen=True, kw_only=True)
class Row:
    """A delivery with the type of its event, which is empty once that has aged out, and the status as it is shown."""

    delivery: Delivery
    event_type: str
    status: DeliveryStatus


def newest_deliveries(
    request: HttpRequest, subscription: Subscription, status: DeliveryStatus | None, *, size: int = PAGE_SIZE
) -> Listed[Delivery]:
    """A page of the subscription's deliveries, by one query that asks the index for each status: quick on millions."""
    deliveries = Delivery.objects.for_organization(subscription.organization_id).filter(subscription=subscription.pk)
    if (before := read_id(request, "before")) is not None:
        deliveries = deliveries.filter(pk__lt=before)
    parts = [_newest(deliveries, condition, size) for condition in stored_as(subscription, status, now=timezone.now())]
    if not parts:
        return Listed(rows=[])
    if len(parts) > 1:
        parts = [parts[0].union(*parts[1:], all=True).order_by("-id")[: size + 1]]
    return listed(list(parts[0]), request, size=size)


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
        )
        for delivery in deliveries
    ]


def _newest(deliveries: TenantQuerySet[Delivery], condition: Q, size: int) -> TenantQuerySet[Delivery]:
    return deliveries.filter(condition).order_by("-id")[: size + 1]
