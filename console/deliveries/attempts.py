"""One attempt with everything that is recorded of it: to verify, to send again by hand, to compare with another."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.pages import organization_page
from console.rendering import render_page
from console.snippets import attempt_as_curl, checks_of_signature
from delivery.api.attempts import attempts_of
from delivery.api.delivery_schemas import AttemptShown
from delivery.attempts.verification import webhook_body, what_was_signed
from delivery.queries import own_delivery, own_subscription
from ingestion.models import Event
from ingestion.queries import own_event

# A longer body is a download.
_SHOWN_BODY = 16_000


@organization_page(Action.SEE_SUBSCRIPTIONS)
def attempt(
    request: HttpRequest, place: OrganizationContext, subscription_id: UUID, delivery_id: UUID, number: int
) -> HttpResponse:
    """With `?with=` another attempt of the delivery beside it."""
    subscription = own_subscription(place.organization.pk, subscription_id)
    delivery = own_delivery(place.organization.pk, pk=delivery_id, subscription=subscription.pk)
    attempts = {each.number: each for each in attempts_of(delivery)}
    if number not in attempts:
        raise Http404
    chosen, other = attempts[number], attempts.get(_number(request.GET.get("with", "")))
    event = Event.objects.for_organization(place.organization.pk).filter(pk=delivery.event_id).first()
    context = {
        "subscription": subscription,
        "delivery": delivery,
        "event": event,
        "attempt": chosen,
        "compared": [chosen, other] if other and other is not chosen else [chosen],
        "others": [each for each in attempts.values() if each.number not in {number, other and other.number}],
        **(_as_sent(chosen, event, subscription) if event and place.may(Action.SEE_PAYLOADS) else {}),
    }
    return render_page(request, "console/subscriptions/attempt.html", context, place=place, section="subscriptions")


@organization_page(Action.SEE_PAYLOADS)
def body(request: HttpRequest, place: OrganizationContext, subscription_id: UUID, delivery_id: UUID) -> HttpResponse:
    """The bytes that every attempt of the delivery sends."""
    subscription = own_subscription(place.organization.pk, subscription_id)
    delivery = own_delivery(place.organization.pk, pk=delivery_id, subscription=subscription.pk)
    return HttpResponse(
        webhook_body(own_event(place.organization.pk, delivery.event_id)),
        content_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="body.json"'},
    )


def _as_sent(attempt: AttemptShown, event: Event, subscription: Any) -> dict[str, Any]:
    sent = webhook_body(event)
    signed = what_was_signed(
        attempt.request_headers, event_id=event.pk, body=sent, subscription=subscription, now=timezone.now()
    )
    return {
        "body": sent.decode() if len(sent) <= _SHOWN_BODY else "",
        "body_size": len(sent),
        "signed": signed,
        "checks": checks_of_signature(signed.message_id, signed.timestamp) if signed else [],
        "curl": attempt_as_curl(attempt, sent),
    }


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
