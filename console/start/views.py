"""The first run: an organization without events sees how to send one, and its page turns green when it arrives."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.pages import organization_page
from console.rendering import render_page
from console.snippets import first_event_snippets
from ingestion.models import LARGE_COLUMNS, Event
from organizations.keys.scopes import Scope
from organizations.models import ApiKey


@organization_page(Action.SEE_EVENTS)
def start(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """Which key to use, and the first event in three languages."""
    keys = ApiKey.objects.for_organization(place.organization.pk).filter(revoked_at__isnull=True)
    usable = [
        key
        for key in keys[:20]
        if Scope.EVENTS_WRITE in key.scopes and (key.expires_at is None or key.expires_at > timezone.now())
    ]
    start_of_key = f"evp_{settings.API_KEY_ENVIRONMENT}_"
    hint = f"{start_of_key}{usable[0].public_id}…" if usable else f"{start_of_key}…"
    context = {
        "keys": usable[:5],
        "start_of_key": start_of_key,
        "snippets": first_event_snippets(hint),
        "first": _first_event(place),
    }
    return render_page(request, "console/start.html", context, place=place, section="overview")


@organization_page(Action.SEE_EVENTS)
def status(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """Whether the first event is there, for htmx."""
    context = {"first": _first_event(place), "organization": place.organization}
    return render(request, "console/_start_status.html", context)


def _first_event(place: OrganizationContext) -> Event | None:
    events = Event.objects.for_organization(place.organization.pk)
    return events.with_status().defer(*LARGE_COLUMNS).order_by("-pk").first()
