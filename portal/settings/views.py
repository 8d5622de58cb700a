"""The page of the console on which an organization says how its portal looks, and ends its sessions."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.pages import READ, WRITE, organization_page
from console.rendering import render_page
from organizations.audit import actor_of
from portal.links import end_all, live_links
from portal.models import PortalAppearance
from portal.settings.forms import AppearanceForm
from portal.settings.operations import change_appearance


@organization_page(Action.MANAGE_ORGANIZATION, methods=READ + WRITE)
def appearance(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    found = PortalAppearance.objects.for_organization(place.organization.pk).first()
    form = AppearanceForm(request.POST or None, instance=found)
    if request.method == "POST" and form.is_valid():
        change_appearance(organization=place.organization, values=form.cleaned_data, actor=actor_of(request))
        messages.success(request, "Saved. Portal pages that are opened from now on look like this.")
        return redirect("portal-settings", place.organization.slug)
    live = live_links(place.organization, now=timezone.now())
    context = {"form": form, "links": live.filter(used_at=None).count(), "sessions": live.exclude(used_at=None).count()}
    return render_page(request, "portal/settings.html", context, place=place, section="portal")


@organization_page(Action.MANAGE_ORGANIZATION, methods=WRITE)
def end(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    ended = end_all(organization=place.organization, actor=actor_of(request), now=timezone.now())
    messages.success(request, f"Ended: {ended}." if ended else "There was nothing to end.")
    return redirect("portal-settings", place.organization.slug)
