"""Usage against the limits of the plan."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.drawing.sparklines import sparkline
from console.pages import organization_page
from console.rendering import render_page
from console.usage.queries import usage_of


@organization_page(Action.SEE_USAGE)
def usage(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """What was sent in a day and in 30 days, and how near that is to the limits."""
    found = usage_of(place.organization, now=timezone.now())
    bars = [(bar.accepted + bar.duplicate, bar.rejected) for bar in found.month.bars]
    context = {
        "usage": found,
        "limits": place.organization.limits,
        "spark": sparkline(bars, f"{found.month.total} events in 30 days, {found.month.rejected} of them rejected"),
    }
    return render_page(request, "console/usage/usage.html", context, place=place, section="usage")
