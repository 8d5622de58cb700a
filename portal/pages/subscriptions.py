"""The subscriptions of a portal: how each is doing, and making, changing and holding them."""

from dataclasses import replace
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from console.conflicts import is_conflict, opened_version, shown_version
from console.deliveries.queries import delivery_page, with_events
from console.forms import show_problem
from console.pages import READ, WRITE
from console.paging import newest_page
from console.subscriptions.queries import health_of
from core.problems import Problem
from delivery.kinds import RULES
from delivery.models import Subscription, SubscriptionKind
from delivery.operations import (
    changeable_fields,
    create_subscription,
    delete_subscription,
    pause_subscription,
    require_webhook,
    resume_subscription,
    update_subscription,
)
from portal.links import subscriptions_of
from portal.pages.entry import Visit, portal_page, render_portal
from portal.pages.forms import EndpointForm, initial_of
from rest.versions import version_of

_LISTED = 25
_RECENT = 10
# With one tag, so that a customer leaves room for the others. Two that come at once may both still pass.
MAX_OF_TAG = 50


@portal_page()
def subscriptions(request: HttpRequest, visit: Visit) -> HttpResponse:
    """All of them, newest first, with their health."""
    rows = subscriptions_of(visit.link).select_related("organization").light()
    page = newest_page(rows, request, size=_LISTED)
    health = health_of(visit.organization, page.rows, now=timezone.now())
    return render_portal(request, "portal/subscriptions.html", {"page": page, "rows": health}, visit=visit)


@portal_page()
def subscription(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    """One, with what is going on at it."""
    found = visit.subscription(subscription_id)
    [health] = health_of(visit.organization, [found], now=timezone.now())
    context = {
        "subscription": found,
        "health": health,
        "rows": with_events(found, delivery_page(request, found, None, size=_RECENT).rows),
    }
    return render_portal(request, "portal/subscription.html", context, visit=visit)


@portal_page(methods=READ + WRITE, manages=True)
def create(request: HttpRequest, visit: Visit) -> HttpResponse:
    """A webhook with the portal's tag, and with the filter of its link."""
    link = visit.link
    if not link.tag:
        raise Problem("permission_denied", "This link is for certain endpoints, and does not add any.")
    if subscriptions_of(link).count() >= MAX_OF_TAG:
        raise Problem("limit_reached", f"There can be {MAX_OF_TAG} endpoints. Delete one that is not used.")
    form = EndpointForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            changes = replace(form.changes(), tags=[link.tag], filter=link.filter)
            created = create_subscription(
                organization=link.organization, kind=SubscriptionKind.WEBHOOK, changes=changes, actor=visit.actor
            )
        except Problem as problem:
            show_problem(form, problem)
        else:
            return to_subscription(created.subscription, done="created")
    context = {"form": form, "explanation": RULES[SubscriptionKind.WEBHOOK].explanation}
    return render_portal(request, "console/subscriptions/create.html", context, visit=visit)


@portal_page(methods=READ + WRITE, manages=True)
def edit(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    found = visit.subscription(subscription_id)
    require_webhook(found)
    form = EndpointForm(request.POST or None, initial=initial_of(found))
    version = shown_version(request, changeable_fields(found))
    if request.method == "POST" and form.is_valid():
        try:
            update_subscription(
                subscription=found, changes=form.changes(), actor=visit.actor, expected=opened_version(request)
            )
        except Problem as problem:
            if is_conflict(problem):
                form.add_error(None, "Somebody else has changed this since you opened it. Save again to replace that.")
                version = version_of(changeable_fields(visit.subscription(subscription_id)))
            else:
                show_problem(form, problem)
        else:
            return to_subscription(found, done="saved")
    context = {"form": form, "subscription": found, "version": version}
    return render_portal(request, "console/subscriptions/edit.html", context, visit=visit)


@portal_page(methods=READ + WRITE, manages=True)
def delete(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    """Asks first."""
    found = visit.subscription(subscription_id)
    if request.method != "POST":
        [health] = health_of(visit.organization, [found], now=timezone.now())
        return render_portal(
            request, "console/subscriptions/delete.html", {"subscription": found, "health": health}, visit=visit
        )
    delete_subscription(subscription=found, actor=visit.actor)
    return redirect(reverse("portal:subscriptions") + "?done=deleted")


@portal_page(methods=WRITE, manages=True)
def pause(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    found = visit.subscription(subscription_id)
    pause_subscription(subscription=found, actor=visit.actor)
    return to_subscription(found, done="paused")


@portal_page(methods=WRITE, manages=True)
def resume(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    found = visit.subscription(subscription_id)
    resume_subscription(subscription=found, actor=visit.actor)
    return to_subscription(found, done="resumed")


def to_subscription(found: Subscription, *, done: str) -> HttpResponse:
    """`done` names a sentence of the page (templates/portal/_done.html): in a frame no cookie could carry it."""
    return redirect(f"{reverse('portal:subscription', args=[found.pk])}?done={done}")
