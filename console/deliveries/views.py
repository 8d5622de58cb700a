"""The deliveries of a subscription, their attempts, and another chance for dead letters."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.deliveries.queries import delivery_page, listed_deliveries, with_events
from console.event.refreshing import refresh_of
from console.pages import READ, WRITE, organization_page
from console.rendering import in_section
from core.problems import Problem
from delivery.api.presenting import describe_delivery
from delivery.models import DeadLetterRetry, Delivery, DeliveryStatus, Subscription
from delivery.operations import dead_letters_of, retry_delivery, retry_of_all, skip_delivery, start_retry
from delivery.queries import head_of_key, own_delivery, own_subscription
from organizations.audit import actor_of

# A page of the list.
_MAX_SELECTED = 50
_render = in_section("subscriptions")


@organization_page(Action.SEE_SUBSCRIPTIONS)
def deliveries(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    found = own_subscription(place.organization.pk, subscription_id)
    return _render(request, place, "console/subscriptions/deliveries.html", listed_deliveries(request, found))


@organization_page(Action.SEE_SUBSCRIPTIONS)
def delivery(
    request: HttpRequest, place: OrganizationContext, subscription_id: UUID, delivery_id: UUID
) -> HttpResponse:
    """One delivery with its attempts and what the endpoint answered. 204 while that is as it was `?seen`."""
    found = own_subscription(place.organization.pk, subscription_id)
    row = own_delivery(place.organization.pk, pk=delivery_id, subscription=found.pk)
    shown = describe_delivery(row, found)
    refresh = refresh_of([shown], is_sent=[found.rules.is_sent], state="", now=timezone.now())
    if request.GET.get("seen") == refresh.digest:
        return HttpResponse(status=204)
    head = head_of_key(row)
    context = {
        "subscription": found,
        "delivery": shown,
        "refresh": refresh,
        "head_id": head,
        "holds_others": head == row.pk and row.status in (DeliveryStatus.RETRYING, DeliveryStatus.DEAD_LETTER),
    }
    return _render(request, place, "console/subscriptions/delivery.html", context)


@organization_page(Action.RETRY_DELIVERIES, methods=WRITE)
def retry(request: HttpRequest, place: OrganizationContext, subscription_id: UUID, delivery_id: UUID) -> HttpResponse:
    """Make it due now."""
    found = own_subscription(place.organization.pk, subscription_id)
    row = own_delivery(place.organization.pk, pk=delivery_id, subscription=found.pk)
    retry_delivery(delivery=row, subscription=found, actor=actor_of(request), now=timezone.now())
    messages.success(request, "The delivery is due now.")
    return redirect("console:delivery", place.organization.slug, found.pk, row.pk)


@organization_page(Action.RETRY_DELIVERIES, methods=WRITE)
def skip(request: HttpRequest, place: OrganizationContext, subscription_id: UUID, delivery_id: UUID) -> HttpResponse:
    """Have what waits for it go on."""
    found = own_subscription(place.organization.pk, subscription_id)
    row = own_delivery(place.organization.pk, pk=delivery_id, subscription=found.pk)
    skip_delivery(delivery=row, subscription=found, actor=actor_of(request), now=timezone.now())
    messages.success(request, "Skipped: the next event with its key is sent.")
    return redirect("console:delivery", place.organization.slug, found.pk, row.pk)


@organization_page(Action.SEE_SUBSCRIPTIONS)
def dead_letters(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """Those that were given up, to be chosen from."""
    found = own_subscription(place.organization.pk, subscription_id)
    page = delivery_page(request, found, DeliveryStatus.DEAD_LETTER)
    retries = DeadLetterRetry.objects.for_organization(place.organization.pk).filter(subscription=found)
    context = {
        "subscription": found,
        "page": page,
        "rows": with_events(found, page.rows),
        "retry": retries.order_by("-pk").first(),
    }
    return _render(request, place, "console/subscriptions/dead_letters.html", context)


@organization_page(Action.RETRY_DELIVERIES, methods=WRITE)
def retry_selected(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """The dead letters whose boxes are ticked, at most a page of them."""
    found = own_subscription(place.organization.pk, subscription_id)
    rows = Delivery.objects.for_organization(place.organization.pk).filter(
        subscription=found.pk, pk__in=_selected(request)
    )
    dead = list(rows.filter(status=DeliveryStatus.DEAD_LETTER).order_by("pk"))
    done = sum(_retry(request, found, row) for row in dead)
    if done:
        messages.success(request, f"{done} {'delivery is' if done == 1 else 'deliveries are'} due now.")
    if done < len(dead):
        messages.error(request, f"{len(dead) - done} changed in the meantime and were left alone.")
    if not dead:
        messages.error(request, "Select the dead letters to retry.")
    if done == len(dead) == 1:
        return redirect("console:delivery", place.organization.slug, found.pk, dead[0].pk)
    return redirect("console:dead-letters", place.organization.slug, found.pk)


@organization_page(Action.RETRY_DELIVERIES, methods=READ + WRITE)
def retry_all(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """Every dead letter; says how many, and asks."""
    found = own_subscription(place.organization.pk, subscription_id)
    if request.method != "POST":
        context = {"subscription": found, "dead": dead_letters_of(found)}
        return _render(request, place, "console/subscriptions/retry_all.html", context)
    retry = start_retry(retry_of_all(found), actor=actor_of(request))
    return redirect("console:job", place.organization.slug, retry.pk)


def _selected(request: HttpRequest) -> list[UUID]:
    found = []
    for text in request.POST.getlist("delivery")[:_MAX_SELECTED]:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


def _retry(request: HttpRequest, subscription: Subscription, row: Delivery) -> bool:
    """False when it has changed meanwhile."""
    try:
        retry_delivery(delivery=row, subscription=subscription, actor=actor_of(request), now=timezone.now())
    except Problem:
        return False
    return True
