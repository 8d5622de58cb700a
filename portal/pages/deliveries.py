"""The deliveries of a portal's subscriptions: what arrived, what did not and why, and another try."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from console.deliveries.queries import listed_deliveries
from console.pages import WRITE
from delivery.api.presenting import describe_delivery
from delivery.operations import retry_delivery, retry_of_all, start_retry
from delivery.queries import own_delivery
from portal.pages.entry import Visit, portal_page, render_portal
from portal.pages.subscriptions import to_subscription


@portal_page()
def deliveries(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    context = listed_deliveries(request, visit.subscription(subscription_id))
    return render_portal(request, "console/subscriptions/deliveries.html", context, visit=visit)


@portal_page()
def delivery(request: HttpRequest, visit: Visit, subscription_id: UUID, delivery_id: UUID) -> HttpResponse:
    """One, with its attempts and what the endpoint answered."""
    found = visit.subscription(subscription_id)
    row = own_delivery(visit.organization.pk, pk=delivery_id, subscription=found.pk)
    context = {"subscription": found, "delivery": describe_delivery(row, found)}
    return render_portal(request, "console/subscriptions/delivery.html", context, visit=visit)


@portal_page(methods=WRITE, manages=True)
def retry(request: HttpRequest, visit: Visit, subscription_id: UUID, delivery_id: UUID) -> HttpResponse:
    """Make it due now."""
    found = visit.subscription(subscription_id)
    row = own_delivery(visit.organization.pk, pk=delivery_id, subscription=found.pk)
    retry_delivery(delivery=row, subscription=found, actor=visit.actor, now=timezone.now())
    return redirect(reverse("portal:delivery", args=[found.pk, row.pk]) + "?done=retried")


@portal_page(methods=WRITE, manages=True)
def retry_all(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    """Every dead letter."""
    found = visit.subscription(subscription_id)
    start_retry(retry_of_all(found), actor=visit.actor)
    return to_subscription(found, done="retrying")
