"""Which subscription a request means, and which deliveries a list shows."""

import heapq
from uuid import UUID

from django.http import Http404
from rest_framework.request import Request

from delivery.models import OPEN_STATUSES, Delivery, DeliveryStatus, Subscription, SubscriptionStatus
from organizations.authentication import caller_of
from rest.lists import Page, newest_first

# In the order in which deliveries go through them: one that moves on while they are read one after the other is seen.
_STORED = (*OPEN_STATUSES, DeliveryStatus.DELIVERED, DeliveryStatus.DEAD_LETTER)


def own_subscription(request: Request, subscription_id: UUID) -> Subscription:
    """The caller's subscription, with its organization; Http404 for another's or a deleted one."""
    shown = Subscription.objects.for_organization(caller_of(request).organization_id).shown()
    subscription = shown.select_related("organization").filter(pk=subscription_id).first()
    if subscription is None:
        raise Http404
    return subscription


def newest_deliveries(
    subscription: Subscription, wanted: DeliveryStatus | None, page: Page
) -> tuple[list[Delivery], str | None]:
    """A page of a subscription's deliveries with the shown status `wanted`, or with any; and the next cursor.

    The index is by status, so each status is asked for a page of its own: quick on millions, whichever are rare.
    """
    deliveries = Delivery.objects.for_organization(subscription.organization_id).filter(subscription=subscription.pk)
    statuses = _stored_statuses(subscription, wanted)
    found: set[UUID] = set()
    for status in statuses:
        of_status = deliveries.filter(status=status)
        if page.before is not None:
            of_status = of_status.filter(pk__lt=page.before)
        found.update(of_status.order_by("-pk").values_list("pk", flat=True)[: page.limit + 1])
    newest = heapq.nlargest(page.limit + 1, found)
    return newest_first(deliveries.filter(pk__in=newest, status__in=statuses), page)


def _stored_statuses(subscription: Subscription, wanted: DeliveryStatus | None) -> tuple[DeliveryStatus, ...]:
    """HELD is what the open ones are while their subscription is not active."""
    is_active = subscription.status == SubscriptionStatus.ACTIVE
    if wanted is None:
        return _STORED
    if wanted is DeliveryStatus.HELD:
        return () if is_active else OPEN_STATUSES
    if wanted in OPEN_STATUSES and not is_active:
        return ()
    return (wanted,)
