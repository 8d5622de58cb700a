"""What only webhooks have: a secret, and a test."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.pages import READ, WRITE, organization_page
from console.paging import read_id
from console.rendering import in_section
from console.shown_once import keep_secret
from console.subscriptions.forms import SecretForm, SendTestForm
from console.subscriptions.views import to_subscription
from delivery.api.attempts import describe_test
from delivery.models import Subscription
from delivery.operations import require_webhook, rotate_secret, show_secret
from delivery.queries import own_delivery, own_subscription
from delivery.webhooks.test_send import TestOutcome, send_test
from ingestion.models import Event
from organizations.audit import actor_of

_render = in_section("subscriptions")


@organization_page(Action.MANAGE_SUBSCRIPTIONS, methods=READ + WRITE)
def rotate(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """A new secret; asks how long the old one signs too."""
    found = own_subscription(place.organization.pk, subscription_id)
    require_webhook(found)
    form = SecretForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        rotated = rotate_secret(subscription=found, overlap=form.cleaned_data["overlap"], actor=actor_of(request))
        if rotated.secret:
            keep_secret(request, about=str(found.pk), secret=rotated.secret)
        messages.success(request, "The secret was rotated.")
        return to_subscription(place, found)
    context = {"form": form, "subscription": found}
    return _render(request, place, "console/subscriptions/rotate.html", context)


@organization_page(Action.MANAGE_SUBSCRIPTIONS, methods=READ + WRITE)
def reveal(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """The secret as it is; asks first, as the audit log tells that it was shown."""
    found = own_subscription(place.organization.pk, subscription_id)
    require_webhook(found)
    if request.method != "POST":
        return _render(request, place, "console/subscriptions/reveal.html", {"subscription": found})
    shown = show_secret(subscription=found, actor=actor_of(request), now=timezone.now())
    if shown.secret:
        keep_secret(request, about=str(found.pk), secret=shown.secret)
    return to_subscription(place, found)


@organization_page(Action.MANAGE_SUBSCRIPTIONS, methods=READ + WRITE)
def try_out(request: HttpRequest, place: OrganizationContext, subscription_id: UUID) -> HttpResponse:
    """Send an event now and show the answer. The answer is kept nowhere, so this page answers the form itself.

    With `?delivery=` it begins with the event of that one, for whoever may read its data.
    """
    found = own_subscription(place.organization.pk, subscription_id)
    require_webhook(found)
    event = _event_to_edit(request, place, found)
    form = SendTestForm(request.POST or None, initial={"type": event.type, "payload": event.data} if event else None)
    outcome: TestOutcome | None = None
    if request.method == "POST" and form.is_valid():
        outcome = send_test(
            subscription=found,
            event_type=form.cleaned_data["type"],
            data=form.cleaned_data["payload"],
            actor=actor_of(request),
            now=timezone.now(),
            made_from=event.pk if event else None,
        )
    context = {"form": form, "subscription": found, "event": event, "result": outcome and describe_test(outcome)}
    return _render(request, place, "console/subscriptions/test.html", context)


def _event_to_edit(request: HttpRequest, place: OrganizationContext, found: Subscription) -> Event | None:
    delivery_id = read_id(request, "delivery")
    if delivery_id is None or not place.may(Action.SEE_PAYLOADS):
        return None
    delivery = own_delivery(place.organization.pk, pk=delivery_id, subscription=found.pk)
    return Event.objects.for_organization(place.organization.pk).filter(pk=delivery.event_id).first()
