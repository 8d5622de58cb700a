"""The live tail: see console.live for how it works."""

from typing import cast
from uuid import UUID

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from console.access import Action, Place
from console.live import Arrived, events_after, newest_events
from console.pages import organization_page, signed_in
from console.rendering import render_page
from console.stats import rejected_lately
from ingestion.intake.rejections import newest_rejections

# The events are what the page is about.
REJECTIONS_SHOWN = 5


@organization_page(Action.SEE_EVENTS)
def live(request: HttpRequest, place: Place) -> HttpResponse:
    """`?type=` filters, exactly or by the start."""
    now, pattern = timezone.now(), _pattern(request)
    context = {
        "arrived": newest_events(place.organization, pattern, now=now),
        "pattern": pattern,
        "rejected": rejected_lately(place.organization.pk, now=now),
        "rejections": newest_rejections(place.organization.pk, limit=REJECTIONS_SHOWN),
    }
    return render_page(request, "console/live.html", context, place=place, section="live")


@organization_page(Action.SEE_EVENTS)
def newer(request: HttpRequest, place: Place) -> HttpResponse:
    """The rows that came since, for htmx."""
    now, pattern = timezone.now(), _pattern(request)
    arrived = events_after(place.organization, pattern, _cursor(request), now=now)
    context = {
        "rejected": rejected_lately(place.organization.pk, now=now),
        "rejections": newest_rejections(place.organization.pk, limit=REJECTIONS_SHOWN),
        "organization": place.organization,
    }
    return _rows(request, arrived, context)


@require_safe
@signed_in
def all_live(request: HttpRequest) -> HttpResponse:
    """Everybody's new events, for staff."""
    if not cast(User, request.user).is_staff:
        return redirect("console:home")
    context = {"arrived": newest_events(None, "", now=timezone.now()), "pattern": ""}
    return render_page(request, "console/live.html", context, section="live")


@require_safe
@signed_in
def all_newer(request: HttpRequest) -> HttpResponse:
    """The rows that came since, for htmx."""
    if not cast(User, request.user).is_staff:
        return redirect("console:home")
    return _rows(request, events_after(None, "", _cursor(request), now=timezone.now()), {"organization": None})


def _rows(request: HttpRequest, arrived: Arrived, context: dict[str, object]) -> HttpResponse:
    return render(request, "console/live_rows.html", {"arrived": arrived, "is_fragment": True, **context})


def _pattern(request: HttpRequest) -> str:
    return request.GET.get("type", "").replace("\x00", "").strip()[:256]


def _cursor(request: HttpRequest) -> UUID | None:
    try:
        return UUID(request.GET.get("cursor", ""))
    except ValueError:
        return None
