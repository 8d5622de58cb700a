"""How an endpoint has been doing: outcomes, durations and errors over time, and what waits for it."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.charts.queries import MOST_WAITING, RANGES, charts_of
from console.pages import organization_page
from console.rendering import render_page
from delivery.queries import own_subscription


@organization_page(Action.SEE_SUBSCRIPTIONS)
def charts(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """`?range=1h|24h|7d|30d`."""
    subscription = own_subscription(place.organization.pk, subscription_id)
    chosen = RANGES.get(request.GET.get("range", ""), RANGES["24h"])
    context = {
        "subscription": subscription,
        "chosen": chosen,
        "ranges": RANGES.values(),
        "charts": charts_of(subscription, chosen, now=timezone.now()),
        "most_waiting": MOST_WAITING,
    }
    return render_page(request, "console/charts/charts.html", context, place=place, section="subscriptions")
