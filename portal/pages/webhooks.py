"""The secret of a webhook, and a test."""

from datetime import timedelta
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
    shown = None
    if request.method == "POST":
        shown = show_secret(subscription=found, actor=visit.actor, now=timezone.now())
    return render_portal(request, "portal/secret.html", {"subscription": found, "shown": shown}, visit=visit)


@portal_page(methods=READ + WRITE, manages=True)
def rotate(request: HttpRequest, visit: Visit, subscription_id: UUID) -> HttpResponse:
    found = visit.subscription(subscription_id)
    require_webhook(found)
    form = SecretForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        overlap = timedelta(seconds=int(form.cleaned_data["overlap"]))
        rotate_secret(subscription=found, overlap=overlap, actor=visit.actor)
        return to_subscription(found, done="rotated")
    context = {"form": form, "subscription": found}
    return render_portal(request, "portal/rotate.html", context, visit=visit, status=422 if form.is_bound else 200)


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
    status = 422 if form.is_bound and not outcome else 200
    return render_portal(request, "portal/test.html", context, visit=visit, status=status)
