"""Send an event without writing code: by the form's fields, through the same intake as the API's events."""

from uuid import uuid4

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from console.access import Action, OrganizationContext
from console.event_types.examples import example_data
from console.event_types.queries import known_type_names
from console.forms import show_problem
from console.pages import READ, WRITE, organization_page
from console.paging import read_text
from console.rendering import render_page
from console.send.forms import SendForm
from core.problems import Problem
from delivery.models import Subscription
from ingestion.operations.sending import Sent, find_misfit, send_event
from organizations.audit import actor_of

# What names no field itself, by code: where it can be mended.
_FIELD_OF = {
    "event_erased": "idempotency_key",
    "idempotency_key_reused": "idempotency_key",
    "malformed_json": "data",
    "payload_too_large": "data",
}
# Subscriptions whose order is told of.
_MOST_ORDERED = 5


@organization_page(Action.SEND_EVENTS, methods=READ + WRITE)
def send(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """`?type=` begins with an example of it; one button of the form only fills one in."""
    if request.method != "POST":
        return _page(request, place, _new_form(place, read_text(request, "type", length=255)))
    if request.POST.get("step") == "example":
        return _page(request, place, _with_example(request, place))
    form = SendForm(request.POST)
    sent = _send(request, place, form)
    if sent is None:
        return _page(request, place, form)
    if sent.duplicate:
        messages.warning(request, "This very event was sent before, with the same idempotency key: nothing was added.")
    else:
        messages.success(request, "The event was accepted.")
    return redirect("console:event", place.organization.slug, sent.id)


def _send(request: HttpRequest, place: OrganizationContext, form: SendForm) -> Sent | None:
    """None when something is wrong; then the form says all of it."""
    if form.is_valid():
        try:
            return send_event(
                organization=place.organization,
                wanted=form.wanted(),
                actor=actor_of(request),
                request_id=request.request_id,  # type: ignore[attr-defined] # the middleware's
            )
        except Problem as problem:
            _show(form, problem)
    if not {"type", "data", "__all__"} & form.errors.keys():
        given = form.cleaned_data
        if misfit := find_misfit(organization=place.organization, event_type=given["type"], data=given["data"]):
            _show(form, misfit)
    return None


def _show(form: SendForm, problem: Problem) -> None:
    if name := _FIELD_OF.get(problem.problem_type.code):
        form.add_error(name, str(problem.detail))
        return
    show_problem(form, problem)
    if seconds := problem.headers.get("Retry-After"):
        form.add_error(None, f"Nothing was stored. Send it again in {seconds} s.")


def _new_form(place: OrganizationContext, name: str) -> SendForm:
    data = (example_data(place, name) if name else None) or "{}"
    return SendForm(initial={"type": name, "data": data, "idempotency_key": str(uuid4())})


def _with_example(request: HttpRequest, place: OrganizationContext) -> SendForm:
    """What was typed, but for the data."""
    typed = {name: request.POST.get(name, "") for name in SendForm.base_fields}
    example = example_data(place, typed["type"].strip())
    if example is None:
        messages.warning(request, "There is no example: no event of this type is there, and no schema with an example.")
    else:
        typed["data"] = example
    return SendForm(initial=typed)


def _page(request: HttpRequest, place: OrganizationContext, form: SendForm) -> HttpResponse:
    ordered = Subscription.objects.for_organization(place.organization.pk).not_deleted().exclude(order_by=None)
    context = {
        "form": form,
        "type_names": known_type_names(place.organization.pk),
        "ordered": ordered.order_by("pk")[:_MOST_ORDERED],
    }
    return render_page(request, "console/send/send.html", context, place=place, section="events")
