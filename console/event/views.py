"""One event: its data, its way to every subscription, and once more from here."""

from typing import Any
from uuid import UUID

import msgspec
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.event.json_tree import MAX_SHOWN_BYTES, json_tree
from console.event.queries import annotations_of, is_past_retention, story_of
from console.pages import WRITE, organization_page, words_of
from console.rendering import render_page
from console.snippets import event_as_curl
from core.problems import Problem
from delivery.operations import ReplayRequest, create_replay, retry_delivery
from delivery.queries import own_delivery, own_subscription
from ingestion.api.presenting import describe_with_status
from ingestion.models import Event
from ingestion.operations import cancel_event
from ingestion.queries import own_event
from organizations.audit import actor_of


@organization_page(Action.SEE_EVENTS)
def event(request: HttpRequest, place: OrganizationContext, event_id: UUID) -> HttpResponse:
    """The event with its data, for whoever may read that, and its timeline. 204 while that is as it was `?seen`."""
    try:
        found = own_event(place.organization.pk, event_id)
    except Http404:
        days = place.organization.limits.retention_days
        gone = is_past_retention(place, event_id, now=timezone.now())
        context = {"gone": gone, "days": days, "event_id": event_id}
        return render_page(request, "console/no_event.html", context, place=place, section="events", status=404)
    annotations, story = annotations_of(found), story_of(found)
    if request.GET.get("seen") == story.refresh.digest:
        return HttpResponse(status=204)
    context = {
        "event": found,
        **(_data_of(found) if place.may(Action.SEE_PAYLOADS) else {}),
        "size": len(found.data.encode()),
        "attributes": annotations.get("attributes") or {},
        "schema_errors": annotations.get("schema_errors") or [],
        "headers": sorted((annotations.get("headers") or {}).items()),
        "headers_left_out": annotations.get("headers_left_out", 0),
        "story": story,
        "outcome": story.outcome,
    }
    return render_page(request, "console/event.html", context, place=place, section="events")


@organization_page(Action.SEE_PAYLOADS)
def raw(request: HttpRequest, place: OrganizationContext, event_id: UUID) -> HttpResponse:
    """The event as the API shows it, to copy or keep; `?part=data` is the data alone, as it is stored."""
    found = own_event(place.organization.pk, event_id)
    if request.GET.get("part") == "data":
        body, name = found.data.encode(), f"{event_id}-data.json"
    else:
        body = msgspec.json.encode(describe_with_status(found))
        if len(body) <= MAX_SHOWN_BYTES:  # 64 levels of indentation make much of little
            body = msgspec.json.format(body, indent=2)
        name = f"{event_id}.json"
    disposition = f'attachment; filename="{name}"' if "download" in request.GET else "inline"
    return HttpResponse(
        body, content_type="application/json; charset=utf-8", headers={"Content-Disposition": disposition}
    )


@organization_page(Action.RETRY_DELIVERIES, methods=WRITE)
def retry(request: HttpRequest, place: OrganizationContext, delivery_id: UUID) -> HttpResponse:
    """Make one delivery due now. What stands against it is said on the event's page, where the person is."""
    delivery = own_delivery(place.organization.pk, pk=delivery_id)
    subscription = delivery.subscription
    try:
        retry_delivery(delivery=delivery, subscription=subscription, actor=actor_of(request), now=timezone.now())
    except Problem as problem:
        messages.error(request, words_of(problem))
    else:
        messages.success(request, "The delivery is due now.")
    return _to_event(place, delivery.event_id)


@organization_page(Action.REPLAY_EVENTS, methods=WRITE)
def replay(request: HttpRequest, place: OrganizationContext, event_id: UUID) -> HttpResponse:
    """A new delivery of the event to a subscription."""
    found = own_event(place.organization.pk, event_id)
    try:
        subscription = own_subscription(place.organization.pk, UUID(request.POST.get("subscription", "")))
    except ValueError as error:
        raise Http404 from error
    values: dict[str, Any] = {
        "subscription": subscription,
        "criteria": ReplayRequest(event_ids=[found.pk]),
        "actor": actor_of(request),
        "now": timezone.now(),
    }
    if create_replay(**values, dry_run=True).total == 0:
        messages.error(request, f"“{subscription.label}” does not receive events of type {found.type}.")
        return _to_event(place, event_id)
    try:
        create_replay(**values)
    except Problem as problem:
        messages.error(request, words_of(problem))
    else:
        messages.success(request, f"A new delivery to “{subscription.label}” is on its way.")
    return _to_event(place, event_id)


def _data_of(found: Event) -> dict[str, Any]:
    """As a tree, or what it begins with when that would be too large; and as a command."""
    tree = json_tree(found.data)
    return {"tree": tree, "beginning": "" if tree else found.data[:2_000], "curl": event_as_curl(found)}


@organization_page(Action.CANCEL_EVENTS, methods=WRITE)
def cancel(request: HttpRequest, place: OrganizationContext, event_id: UUID) -> HttpResponse:
    """Have a scheduled event never handed on."""
    try:
        cancel_event(organization_id=place.organization.pk, event_id=event_id, actor=actor_of(request))
    except Problem as problem:
        messages.error(request, words_of(problem))
    else:
        messages.success(request, "The event was cancelled.")
    return _to_event(place, event_id)


def _to_event(place: OrganizationContext, event_id: UUID) -> HttpResponse:
    return redirect("console:event", place.organization.slug, event_id)
