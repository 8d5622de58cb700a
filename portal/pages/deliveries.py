"""The deliveries of a portal's subscriptions: what arrived, what did not and why, and another try."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone

from console.deliveries.queries import delivery_page, with_events
from console.pages import WRITE
from console.paging import read_text
from delivery.api.presenting import describe_delivery
from delivery.models import Delivery, DeliveryStatus, Subscription
from delivery.operations import retry_delivery, retry_of_all, start_retry
from portal.pages.entry import Visit, portal_page, render_portal
from portal.pages.subscriptions import to_subscription


@portal_page()
def deliveries(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    """Newest first; `?status=` is one of DeliveryStatus."""
    found = visit.subscription(subscription_id)
    wanted = read_text(request, "status", length=20)
    status = DeliveryStatus(wanted) if wanted in DeliveryStatus.values else None
    page = delivery_page(request, found, status)
    context = {
        "subscription": found,
        "page": page,
        "rows": with_events(found, page.rows),
        "status": status,
        "statuses": list(DeliveryStatus),
    }
    return render_portal(request, "portal/deliveries.html", context, visit=visit)


@portal_page()
def delivery(request: HttpRequest, visit: Visit, subscription_id: UUID, delivery_id: UUID) -> HttpResponse:
    """One, with its attempts and what the endpoint answered."""
    found = visit.subscription(subscription_id)
    row = _delivery(found, delivery_id)
    context = {"subscription": found, "delivery": describe_delivery(row, found)}
    return render_portal(request, "portal/delivery.html", context, visit=visit)


@portal_page(methods=WRITE, manages=True)
def retry(request: HttpRequest, visit: Visit, subscription_id: UUID, delivery_id: UUID) -> HttpResponse:
    """Make it due now."""
    found = visit.subscription(subscription_id)
    row = _delivery(found, delivery_id)
    retry_delivery(delivery=row, subscription=found, actor=visit.actor, now=timezone.now())
    return redirect(reverse("portal:delivery", args=[found.pk, row.pk]) + "?done=retried")


@portal_page(methods=WRITE, manages=True)
def retry_all(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    """Every dead letter."""
    found = visit.subscription(subscription_id)
    start_retry(retry_of_all(found), actor=visit.actor)
    return to_subscription(found, done="retrying")


def _delivery(subscription: Subscription, delivery_id: UUID) -> Delivery:
    """Http404 for another subscription's."""
    rows = Delivery.objects.for_organization(subscription.organization_id).filter(subscription=subscription.pk)
    return get_object_or_404(rows, pk=delivery_id)
