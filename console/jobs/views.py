"""Retries of dead letters: watch and stop them."""

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.jobs.cancelling import cancel_and_tell
from console.jobs.progress import progress_of
from console.pages import WRITE, organization_page
from console.rendering import permissions, render_page
from console.subscriptions.queries import next_probe
from delivery.models import Replay
from delivery.queries import own_job


@organization_page(Action.SEE_SUBSCRIPTIONS)
def job(request: HttpRequest, place: OrganizationContext, job_id: UUID) -> HttpResponse:
    """How far it is; with `?part` only the bar, for htmx. A replay has a page of its own."""
    found = own_job(place.organization.pk, job_id)
    if isinstance(found, Replay):
        return redirect("console:replay-progress", place.organization.slug, found.pk)
    now = timezone.now()
    context = {
        "job": found,
        "progress": progress_of(found, now=now),
        "probe_at": next_probe(found.subscription, now=now),
        "organization": place.organization,
        "may": permissions(place),
    }
    if "part" in request.GET:
        return render(request, "console/subscriptions/_job_bar.html", context)
    return render_page(request, "console/subscriptions/job.html", context, place=place, section="subscriptions")


@organization_page(Action.RETRY_DELIVERIES, methods=WRITE)
def cancel(request: HttpRequest, place: OrganizationContext, job_id: UUID) -> HttpResponse:
    """At once: another one may take the rest. Not a replay, which is for who may replay."""
    found = own_job(place.organization.pk, job_id)
    if isinstance(found, Replay):
        raise Http404
    cancel_and_tell(request, found, cancelled="It is cancelled. What is due again stays due.")
    return redirect("console:job", place.organization.slug, found.pk)
