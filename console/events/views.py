"""Lists of events, and the views of them that people keep."""

from datetime import datetime, timedelta
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from console.access import Action, OrganizationContext
from console.event_types.queries import seen_type_names
from console.events.filters import RANGES, EventFilters
from console.events.outcomes import UNPROCESSED_WORDS, WORDS, with_outcomes
from console.events.saved_views import delete_view, save_view, views_of
from console.events.searching import find_events
from console.pages import WRITE, organization_page, signed_in, words_of
from console.paging import PAGE_SIZE
from console.rendering import render_page
from core.problems import Problem
from ingestion.queries import EventPage, newest_of_all


@require_safe
@signed_in
def all_events(request: HttpRequest) -> HttpResponse:
    """Everybody's events, for staff; members are led to their own."""
    if not cast(User, request.user).is_staff:
        return redirect("console:home")
    wanted = EventFilters.read(request.GET, now=timezone.now())
    found = newest_of_all(wanted, size=PAGE_SIZE)
    context = {
        "found": found,
        "rows": with_outcomes(found.events),
        "wanted": wanted,
        "ranges": RANGES,
        "page": _paging(found, wanted),
    }
    return render_page(request, "console/all_events.html", context, section="events")


@organization_page(Action.SEE_EVENTS)
def events(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """An organization's events; the filters are those of EventFilters."""
    now = timezone.now()
    wanted = EventFilters.read(request.GET, now=now)
    if not place.may(Action.SEE_PAYLOADS):
        wanted = wanted.without_data()
    found = find_events(place.organization.pk, wanted, size=PAGE_SIZE)
    for event in found.events:
        event.organization = place.organization
    views = views_of(place.user, place.organization)
    # Whoever has chosen anything has found the way.
    names = [] if wanted.is_any else seen_type_names(place.organization.pk)
    context: dict[str, Any] = {
        "found": found,
        "rows": with_outcomes(found.events),
        "wanted": wanted,
        "ranges": RANGES,
        "outcomes": [*WORDS.items(), *UNPROCESSED_WORDS.items()],
        "views": views,
        "current_view": next((view for view in views if view.query == wanted.base_query), None),
        "type_names": names,
        "emptiness": _why_empty(found, wanted, place, names, now),
        "page": _paging(found, wanted),
    }
    return render_page(request, "console/events.html", context, place=place, section="events")


@organization_page(Action.SAVE_VIEWS, methods=WRITE)
def save(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """Keep the list's filters under a name."""
    name = " ".join(request.POST.get("name", "").replace("\x00", "").split())[:60]
    given = QueryDict(request.POST.get("query", "")[:2000].replace("\x00", ""))
    query = EventFilters.read(given, now=timezone.now()).base_query
    if not name:
        messages.error(request, "Give the view a name.")
    else:
        _save(request, place, name, query)
    return redirect(f"{_list_url(place)}?{query}")


@organization_page(Action.SAVE_VIEWS, methods=WRITE)
def delete(request: HttpRequest, place: OrganizationContext, view_id: int) -> HttpResponse:
    """Forget a view of one's own."""
    if not delete_view(user=place.user, organization=place.organization, view_id=view_id):
        raise Http404
    messages.success(request, "The view was deleted.")
    return redirect(_list_url(place))


def _save(request: HttpRequest, place: OrganizationContext, name: str, query: str) -> None:
    """What stands against it is said on the list, where the person is."""
    try:
        view = save_view(user=place.user, organization=place.organization, name=name, query=query)
    except Problem as problem:
        messages.error(request, words_of(problem))
    else:
        messages.success(request, f"Saved as “{view.name}”.")


def _list_url(place: OrganizationContext) -> str:
    return reverse("console:organization-events", args=[place.organization.slug])


def _paging(found: EventPage, wanted: EventFilters) -> dict[str, str | None]:
    return {
        "older": wanted.query(before=found.older) if found.older else None,
        "newest": wanted.query() if wanted.before else None,
    }


def _why_empty(
    found: EventPage, wanted: EventFilters, place: OrganizationContext, types: list[str], now: datetime
) -> str:
    """`first` (nothing yet), `aged_out`, `bounded`, `timeout` or `no_match`; empty when there are events."""
    if found.events:
        return ""
    if found.timed_out:
        return "timeout"
    if found.looked_back_to:
        return "bounded"
    days = place.organization.limits.retention_days
    is_past = wanted.time_to is not None and wanted.time_to <= now - timedelta(days=days)
    if is_past or (not wanted.is_any and not wanted.before and types):
        return "aged_out"
    return "no_match" if wanted.is_any or wanted.before else "first"
