"""The secret of a webhook, and a test."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from console.pages import READ, WRITE
from console.subscriptions.forms import SecretForm, SendTestForm
from delivery.api.attempts import describe_test
from delivery.operations import require_webhook, rotate_secret, show_secret
from delivery.webhooks.test_send import TestOutcome, send_test
from portal.pages.entry import Visit, portal_page, render_portal
from portal.pages.subscriptions import to_subscription


@portal_page(methods=READ + WRITE, manages=True)
def reveal(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    """The secret, in the answer to a form: nothing holds it in between."""
    found = visit.subscription(subscription_id)
    require_webhook(found)
    if request.method != "POST":
        return render_portal(request, "console/subscriptions/reveal.html", {"subscription": found}, visit=visit)
    shown = show_secret(subscription=found, actor=visit.actor, now=timezone.now())
    return render_portal(request, "portal/secret.html", {"subscription": found, "shown": shown}, visit=visit)


@portal_page(methods=READ + WRITE, manages=True)
def rotate(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    found = visit.subscription(subscription_id)
    require_webhook(found)
    form = SecretForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        rotate_secret(subscription=found, overlap=form.cleaned_data["overlap"], actor=visit.actor)
        return to_subscription(found, done="rotated")
    context = {"form": form, "subscription": found}
    return render_portal(request, "console/subscriptions/rotate.html", context, visit=visit)


@portal_page(methods=READ + WRITE, manages=True)
def try_out(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    """Send an event now and show the answer, which is kept nowhere."""
    found = visit.subscription(subscription_id)
    require_webhook(found)
    form = SendTestForm(request.POST or None)
    outcome: TestOutcome | None = None
    if request.method == "POST" and form.is_valid():
        outcome = send_test(
            subscription=found,
            event_type=form.cleaned_data["type"],
            data=form.cleaned_data["payload"],
            actor=visit.actor,
            now=timezone.now(),
        )
    context = {"form": form, "subscription": found, "result": outcome and describe_test(outcome)}
    return render_portal(request, "console/subscriptions/test.html", context, visit=visit)
