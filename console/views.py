"""The pages of the console."""

from typing import cast
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.queries import (
    MAX_LISTED_ORGANIZATIONS,
    EventFilter,
    find_event,
    list_events,
    visible_organizations,
)
from organizations.models import Organization


@require_safe
@login_required
def events(request: HttpRequest) -> HttpResponse:
    """The newest events: `?organization=<id>&type=invoice.*&before=<event id>`."""
    user = cast(User, request.user)
    wanted = _read_filter(request, user)
    # A type without an organization would make the database walk every tenant's events.
    needs_organization = bool(wanted.type) and wanted.organization is None and user.is_staff
    page = None if needs_organization else list_events(user=user, wanted=wanted)
    context = {
        "page": page,
        "wanted": wanted,
        "older": _older(wanted, page.next_before) if page and page.next_before else None,
        "organizations": visible_organizations(user)[:MAX_LISTED_ORGANIZATIONS],
        "public_url": settings.PUBLIC_URL,
    }
    return render(request, "console/events.html", context)


@require_safe
@login_required
def event(request: HttpRequest, event_id: UUID) -> HttpResponse:
    """One event with its data."""
    found = find_event(user=cast(User, request.user), event_id=event_id)
    if found is None:
        raise Http404
    context = {"event": found, "data": msgspec.json.format(found.data, indent=2)}
    return render(request, "console/event.html", context)


def _read_filter(request: HttpRequest, user: User) -> EventFilter:
    """Raises Http404 for an id that is none, or that the person may not see."""
    organization = None
    if chosen := _read_id(request, "organization"):
        organization = visible_organizations(user).filter(pk=chosen).first()
        if organization is None:
            raise Http404
    wanted_type = request.GET.get("type", "").replace("\x00", "").strip()[:255]
    return EventFilter(organization=organization, type=wanted_type, before=_read_id(request, "before"))


def _read_id(request: HttpRequest, name: str) -> UUID | None:
    given = request.GET.get(name)
    try:
        return UUID(given) if given else None
    except ValueError as error:
        raise Http404 from error


def _older(wanted: EventFilter, before: UUID) -> str:
    parameters = {"organization": _id_of(wanted.organization), "type": wanted.type, "before": str(before)}
    return "?" + urlencode({name: value for name, value in parameters.items() if value})


def _id_of(organization: Organization | None) -> str:
    return str(organization.pk) if organization else ""
