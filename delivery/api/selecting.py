"""Which deliveries a list shows."""

import heapq
from functools import reduce
from operator import or_
from uuid import UUID

from django.utils import timezone

from delivery.models import Delivery, DeliveryStatus, Subscription
from delivery.shown_status import stored_as
from organizations.models import TenantQuerySet
from rest.lists import Page


def newest_deliveries(
    subscription: Subscription, wanted: DeliveryStatus | None, page: Page
) -> TenantQuerySet[Delivery]:
    """Those of a page of a subscription's deliveries with the shown status `wanted`, or with any; and one more.

    The index is by status, so each status is asked for a page of its own: quick on millions, whichever are rare.
    """
    deliveries = Delivery.objects.for_organization(subscription.organization_id).filter(subscription=subscription.pk)
    conditions = stored_as(subscription, wanted, now=timezone.now())
    found: set[UUID] = set()
    for condition in conditions:
        of_status = deliveries.filter(condition)
        if page.before is not None:
            of_status = of_status.filter(pk__lt=page.before)
        found.update(of_status.order_by("-pk").values_list("pk", flat=True)[: page.limit + 1])
    newest = heapq.nlargest(page.limit + 1, found)
    # Once more with the conditions: what has moved on meanwhile is not what was asked for.
    return deliveries.filter(pk__in=newest).filter(reduce(or_, conditions)) if conditions else deliveries.none()
