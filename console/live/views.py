"""The live tail: see console.live.queries for how it works."""

from typing import cast
from uuid import UUID

from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_safe

from console.access import Action, OrganizationContext, resolve
from console.live.queries import Arrived, Watch, events_after, newest_events
from console.overview.queries import rejected_lately
from console.pages import organization_page, signed_in
from console.rendering import render_page
from ingestion.intake.rejections import newest_rejections
from rest.doors.streams import Message, StreamEndedError, stream_answer

# The events are what the page is about.
REJECTIONS_SHOWN = 5


@organization_page(Action.SEE_EVENTS)
def live(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
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
def stream(request: HttpRequest, place: OrganizationContext) -> HttpResponseBase:
    """The rows that come, as server-sent events; `?cursor=` is where the page ended."""
    pattern = _pattern(request)
    watch = Watch(newest_events(place.organization, pattern, now=timezone.now()).rows)

    def look(cursor: str) -> Message:
        here = _still_there(request, place)
        now = timezone.now()
        context = {
            "rejected": rejected_lately(here.organization.pk, now=now),
            "rejections": newest_rejections(here.organization.pk, limit=REJECTIONS_SHOWN),
            "organization": here.organization,
        }
        return _message(request, events_after(here.organization, pattern, _uuid(cursor), now=now), watch, context)

    return stream_answer(request, look, cursor=request.GET.get("cursor", ""))


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
def all_stream(request: HttpRequest) -> HttpResponseBase:
    """Everybody's rows that come, as server-sent events."""
    if not cast(User, request.user).is_staff:
        return redirect("console:home")

    watch = Watch(newest_events(None, "", now=timezone.now()).rows)

    def look(cursor: str) -> Message:
        if not _person_now(request).is_staff:
            raise StreamEndedError
        arrived = events_after(None, "", _uuid(cursor), now=timezone.now())
        return _message(request, arrived, watch, {"organization": None})

    return stream_answer(request, look, cursor=request.GET.get("cursor", ""))


def _still_there(request: HttpRequest, place: OrganizationContext) -> OrganizationContext:
    """The same place, as this person may see it now."""
    try:
        here = resolve(_person_now(request), place.organization.slug)
        here.require(Action.SEE_EVENTS)
    except (Http404, PermissionDenied) as refused:
        raise StreamEndedError from refused
    return here


def _person_now(request: HttpRequest) -> User:
    """Whoever opened the stream, unless the session has ended since, or its password has changed."""
    person = get_user(request)
    session = request.session
    if not person.is_authenticated or not session.session_key or not session.exists(session.session_key):
        raise StreamEndedError
    return person


def _message(request: HttpRequest, arrived: Arrived, watch: Watch, context: dict[str, object]) -> Message:
    context |= {"arrived": arrived, "renewed": watch.renew(arrived.rows)}
    rows = render_to_string("console/_live_rows.html", context, request)
    return Message(cursor=str(arrived.cursor), text=rows)


def _pattern(request: HttpRequest) -> str:
    return request.GET.get("type", "").replace("\x00", "").strip()[:256]


def _uuid(cursor: str) -> UUID | None:
    try:
        return UUID(cursor)
    except ValueError:
        return None
