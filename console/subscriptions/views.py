"""Subscriptions: how each is doing, and making, changing, holding and deleting them."""

import json
from uuid import UUID

from django.contrib import messages
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.conflicts import is_conflict, merge, opened_version, shown_version
from console.deliveries.queries import delivery_page, with_events
from console.forms import show_problem
from console.pages import READ, WRITE, organization_page, words_of
from console.paging import newest_page, read_text
from console.rendering import in_section
from console.shown_once import keep_secret, take_secret
from console.subscriptions.forms import SubscriptionForm
from console.subscriptions.queries import health_of, next_probe
from core.problems import Problem
from delivery.endpoints.certificate_ends import is_end_near
from delivery.endpoints.sealed_auth import show_auth
from delivery.endpoints.sealed_headers import show_headers
from delivery.kinds import RULES
from delivery.models import Replay, Subscription, SubscriptionKind
from delivery.operations import (
    changeable_fields,
    checked_fields,
    create_subscription,
    delete_subscription,
    pause_subscription,
    resume_subscription,
    try_endpoint,
    update_subscription,
)
from delivery.queries import own_subscription
from organizations.audit import actor_of
from rest.versions import version_of

# The health of each looks into every week of deliveries.
_LISTED = 25
_RECENT = 10
_IS_FILTERED = ExpressionWrapper(Q(filter__isnull=False), output_field=BooleanField())
_REPLAYS = 5
_render = in_section("subscriptions")


@organization_page(Action.SEE_SUBSCRIPTIONS)
def subscriptions(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """All of them, newest first, with their health; `?kind=webhook` or `inbox`."""
    kind = read_text(request, "kind", length=10)
    rows = Subscription.objects.for_organization(place.organization.pk).not_deleted()
    if kind in SubscriptionKind.values:
        rows = rows.filter(kind=kind)
    page = newest_page(rows.light().annotate(is_filtered=_IS_FILTERED), request, size=_LISTED)
    health = health_of(place.organization, page.rows, now=timezone.now())
    context = {"page": page, "rows": health, "kind": kind, "kinds": RULES}
    return _render(request, place, "console/subscriptions/subscriptions.html", context)


@organization_page(Action.SEE_SUBSCRIPTIONS)
def subscription(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """One, with what is going on at it; after a form also its secret, this one time."""
    found = own_subscription(place.organization.pk, subscription_id)
    [health] = health_of(place.organization, [found], now=timezone.now())
    replays = Replay.objects.for_organization(place.organization.pk).filter(subscription=found)
    context = {
        "subscription": found,
        "health": health,
        "probe_at": next_probe(found, now=timezone.now()),
        "filter_text": json.dumps(found.filter, ensure_ascii=False) if found.filter else "",
        "headers": show_headers(found.headers),
        "auth": show_auth(found.auth),
        "auth_ends_soon": is_end_near(found, now=timezone.now()),
        "rows": with_events(found, delivery_page(request, found, None, size=_RECENT).rows),
        "replays": list(replays.order_by("-pk")[:_REPLAYS]),
        "secret": take_secret(request, about=str(found.pk)),
    }
    response = _render(request, place, "console/subscriptions/subscription.html", context)
    response["Cache-Control"] = "no-store"
    return response


@organization_page(Action.MANAGE_SUBSCRIPTIONS, methods=READ + WRITE)
def create(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """A webhook, whose secret is shown after, or another `?kind=`."""
    wanted = read_text(request, "kind", length=10)
    kind = SubscriptionKind(wanted) if wanted in SubscriptionKind.values else SubscriptionKind.WEBHOOK
    form = SubscriptionForm(request.POST or None, kind=kind)
    if request.method == "POST" and form.is_valid():
        try:
            created = create_subscription(
                organization=place.organization, kind=kind, changes=form.changes(), actor=actor_of(request)
            )
        except Problem as problem:
            show_problem(form, problem)
        else:
            if created.secret:
                keep_secret(request, about=str(created.subscription.pk), secret=created.secret)
            messages.success(request, f"The {kind.label.lower()} was created. It receives events from now on.")
            return to_subscription(place, created.subscription)
    elif form.is_bound:
        _show_all_errors(form, kind)
    context = {"form": form, "kind": kind.value, "kinds": RULES, "explanation": RULES[kind].explanation}
    return _render(request, place, "console/subscriptions/create.html", context)


@organization_page(Action.MANAGE_SUBSCRIPTIONS, methods=READ + WRITE)
def edit(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """Change what it takes and where it goes."""
    found = own_subscription(place.organization.pk, subscription_id)
    form = SubscriptionForm(request.POST or None, kind=SubscriptionKind(found.kind), subscription=found)
    if request.method == "POST" and form.is_valid():
        try:
            update_subscription(
                subscription=found,
                changes=form.changes(),
                actor=actor_of(request),
                expected=opened_version(request),
            )
        except Problem as problem:
            if is_conflict(problem):
                return _conflict(request, place, own_subscription(place.organization.pk, subscription_id), form)
            show_problem(form, problem)
        else:
            messages.success(request, "Saved. It applies to events from now on.")
            return to_subscription(place, found)
    elif form.is_bound:
        _show_all_errors(form, SubscriptionKind(found.kind))
    context = {"form": form, "subscription": found, "version": shown_version(request, changeable_fields(found))}
    return _render(request, place, "console/subscriptions/edit.html", context)


def _show_all_errors(form: SubscriptionForm, kind: SubscriptionKind) -> None:
    """What could be read is checked, too, so that nobody corrects one field only to learn of the next."""
    try:
        checked_fields(kind, form.changes())
    except Problem as problem:
        show_problem(form, problem)


def _conflict(
    request: HttpRequest, place: OrganizationContext, found: Subscription, typed: SubscriptionForm
) -> HttpResponse:
    """What somebody else has changed, and what this person has typed."""
    form = SubscriptionForm(None, kind=SubscriptionKind(found.kind), subscription=found)
    fields = changeable_fields(found)
    changed = merge(typed, form, fields=fields, wanted=typed.wanted(fields))
    context = {"form": form, "subscription": found, "changed": changed, "version": version_of(fields)}
    return _render(request, place, "console/subscriptions/edit.html", context, status=412)


@organization_page(Action.MANAGE_SUBSCRIPTIONS, methods=READ + WRITE)
def delete(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """Asks first."""
    found = own_subscription(place.organization.pk, subscription_id)
    if request.method != "POST":
        [health] = health_of(place.organization, [found], now=timezone.now())
        context = {"subscription": found, "health": health}
        return _render(request, place, "console/subscriptions/delete.html", context)
    delete_subscription(subscription=found, actor=actor_of(request))
    messages.success(request, f"“{found.label}” was deleted.")
    return redirect("console:subscriptions", place.organization.slug)


@organization_page(Action.MANAGE_SUBSCRIPTIONS, methods=WRITE)
def pause(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """Hold its deliveries."""
    found = own_subscription(place.organization.pk, subscription_id)
    pause_subscription(subscription=found, actor=actor_of(request))
    messages.success(request, "Paused: its deliveries are held until it is resumed.")
    return to_subscription(place, found)


@organization_page(Action.MANAGE_SUBSCRIPTIONS, methods=WRITE)
def resume(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """Deliver again."""
    found = own_subscription(place.organization.pk, subscription_id)
    resume_subscription(subscription=found, actor=actor_of(request))
    messages.success(request, "Resumed: what was held is sent first.")
    return to_subscription(place, found)


@organization_page(Action.RETRY_DELIVERIES, methods=WRITE)
def try_now(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """Send one delivery to an endpoint that rests. What stands against it is said on its page, where the person is."""
    found = own_subscription(place.organization.pk, subscription_id)
    try:
        try_endpoint(subscription=found, actor=actor_of(request))
    except Problem as problem:
        messages.error(request, words_of(problem))
    else:
        messages.success(request, "One delivery is being tried now. If it succeeds, everything that waits is sent.")
    return to_subscription(place, found)


def to_subscription(place: OrganizationContext, found: Subscription) -> HttpResponse:
    return redirect("console:subscription", place.organization.slug, found.pk)
