"""Replays: count, start, watch and stop."""

from datetime import timedelta
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.forms import show_problem
from console.jobs.cancelling import cancel_and_tell
from console.pages import READ, WRITE, organization_page
from console.paging import newest_page
from console.rendering import in_section, permissions
from console.subscriptions.forms import ReplayForm
from core.problems import Problem
from delivery.matching.matching import check_patterns
from delivery.models import Replay
from delivery.operations import create_replay
from delivery.operations.replays import MAX_COUNTED
from delivery.queries import own_replay, own_subscription
from organizations.audit import actor_of

_render = in_section("subscriptions")


@organization_page(Action.SEE_SUBSCRIPTIONS)
def replays(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """All of the organization's, newest first."""
    rows = Replay.objects.for_organization(place.organization.pk).select_related("subscription")
    return _render(request, place, "console/subscriptions/replays.html", {"page": newest_page(rows, request)})


@organization_page(Action.REPLAY_EVENTS, methods=READ + WRITE)
def create(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """First counts and shows the number; the second button starts it."""
    found = own_subscription(place.organization.pk, subscription_id)
    now = timezone.now()
    initial = {"received_after": now - timedelta(hours=24), "received_before": now}
    form = ReplayForm(request.POST or None, initial=initial)
    total: int | None = None
    if request.method == "POST" and form.is_valid():
        is_dry_run = request.POST.get("step") != "start"
        try:
            check_patterns(form.cleaned_data["event_types"])
            replay = create_replay(
                subscription=found, criteria=form.criteria(), actor=actor_of(request), now=now, dry_run=is_dry_run
            )
        except Problem as problem:
            show_problem(form, problem)
        else:
            if not is_dry_run:
                return redirect("console:replay-progress", place.organization.slug, replay.pk)
            total = replay.total
    context = {"form": form, "subscription": found, "total": total, "most_counted": MAX_COUNTED}
    return _render(request, place, "console/subscriptions/replay.html", context)


@organization_page(Action.SEE_SUBSCRIPTIONS)
def progress(request: HttpRequest, place: OrganizationContext, replay_id: UUID) -> HttpResponse:
    """How far it is; with `?part` only the bar, for htmx."""
    found = own_replay(place.organization.pk, replay_id)
    context = {
        "replay": found,
        "is_running": found.is_running,
        "organization": place.organization,
        "may": permissions(place),
    }
    if "part" in request.GET:
        return render(request, "console/subscriptions/_replay_bar.html", context)
    return _render(request, place, "console/subscriptions/replay_progress.html", context)


@organization_page(Action.REPLAY_EVENTS, methods=READ + WRITE)
def cancel(request: HttpRequest, place: OrganizationContext, replay_id: UUID) -> HttpResponse:
    """Asks first."""
    found = own_replay(place.organization.pk, replay_id)
    if request.method != "POST":
        return _render(request, place, "console/subscriptions/cancel_replay.html", {"replay": found})
    cancel_and_tell(request, found, cancelled="The replay was canceled. What it has delivered stays delivered.")
    return redirect("console:replay-progress", place.organization.slug, found.pk)
