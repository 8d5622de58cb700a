"""How an organization's events are doing."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.drawing.charts import intake_chart
from console.overview import queries as stats
from console.pages import organization_page
from console.rendering import render_page
from core.times import format_time
from ingestion.models import Event, EventType
from organizations.models import Organization


@organization_page(Action.SEE_EVENTS)
def overview(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """`?range=1h|24h|7d|30d`. An organization without any event is led to its first one."""
    now = timezone.now()
    chosen = stats.RANGES.get(request.GET.get("range", ""), stats.RANGES["24h"])
    organization = place.organization
    intake = stats.intake_of(organization, chosen, now=now)
    processed = stats.processed_of(organization, chosen, now=now)
    if not intake.total and not processed.total and not _has_ever_sent(organization):
        return redirect("console:start", organization.slug)
    endpoints = stats.endpoints_of(organization, now=now)
    events_url = reverse("console:organization-events", args=[organization.slug])
    context: dict[str, Any] = {
        "chosen": chosen,
        "ranges": stats.RANGES.values(),
        "intake": intake,
        "chart": intake_chart(intake.bars, lambda bar: _events_of(bar, events_url)),
        "processed": processed,
        "attempts": stats.attempts_of(organization, endpoints.ids, chosen, now=now),
        "endpoints": endpoints,
        "processing": stats.processing_of(organization, now=now),
    }
    return render_page(request, "console/overview.html", context, place=place, section="overview")


def _has_ever_sent(organization: Organization) -> bool:
    """Types stay when events are long gone; an event is there before its type is."""
    types = EventType.objects.for_organization(organization.pk).filter(first_seen_at__isnull=False)
    return types.exists() or Event.objects.for_organization(organization.pk).exists()


def _events_of(bar: stats.Bar, events_url: str) -> str:
    return f"{events_url}?{urlencode({'from': format_time(bar.start), 'to': format_time(bar.end)})}"
