"""`/api/v1/events`. One event, with what became of it, is shown by `delivery`."""

from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.ports import run_now
from core.problems import Problem, invalid
from core.times import format_time
from core.tracing import request_span
from ingestion.api import schemas
from ingestion.api.presenting import describe_listed
from ingestion.api.schemas import EventCancelled
from ingestion.formats.dispatch import MAX_BATCH_BODY_BYTES, MAX_SINGLE_BODY_BYTES, is_batch
from ingestion.intake.direct import direct_ports, store_directly
from ingestion.intake.pipeline import IntakeRequest, Passed, Ports, receive_batch, receive_event
from ingestion.models import LARGE, EventStatus
from ingestion.operations import cancel_event
from ingestion.queries import EventCriteria, events_to_read
from organizations.keys.authentication import actor_of, caller_of
from organizations.keys.scopes import Scope
from rest.compat import django_request
from rest.lists import Listing, Page, list_answer, read_page, read_text, read_time
from rest.parsing import read_raw

Receive = Callable[[Ports, IntakeRequest], Coroutine[Any, Any, Passed]]
FILTERS = ("type", "source", "subject", "received_after", "received_before", "status")


class EventsView(APIView):
    """Send an event; list events. The room that knows what became of them adds filters of its own."""

    scopes = {"POST": Scope.EVENTS_WRITE, "GET": Scope.EVENTS_READ}
    operations = schemas.EVENTS

    def post(self, request: Request) -> HttpResponse:
        receive = receive_batch if is_batch(_headers(request)) else receive_event
        return _through_the_intake(request, receive)

    def get(self, request: Request) -> HttpResponseBase:
        page = read_page(request, "events")
        organization_id = caller_of(request).organization_id
        rows, older = events_to_read(organization_id, read_criteria(request, page), size=page.limit)
        listing = Listing(rows=rows, describe=describe_listed, large=LARGE, older=older)
        return list_answer(request, page, listing, owner=organization_id)


class BatchView(APIView):
    """Send many events."""

    scopes = {"POST": Scope.EVENTS_WRITE}
    operations = schemas.BATCH

    def post(self, request: Request) -> HttpResponse:
        return _through_the_intake(request, receive_batch)


class CancelEventView(APIView):
    """Cancel a scheduled event."""

    scopes = {"POST": Scope.EVENTS_WRITE}
    operations = schemas.CANCEL

    def post(self, request: Request, event_id: UUID) -> Response:
        schedule = cancel_event(
            organization_id=caller_of(request).organization_id, event_id=event_id, actor=actor_of(request)
        )
        return Response(EventCancelled(id=event_id, status="cancelled", deliver_at=format_time(schedule.deliver_at)))


_PORTS = direct_ports(store_directly)


def _through_the_intake(request: Request, receive: Receive) -> HttpResponse:
    """The WSGI door: the same stages as the ASGI door's, without waiting and without sharing commits."""
    limit = MAX_BATCH_BODY_BYTES if receive is receive_batch else MAX_SINGLE_BODY_BYTES
    headers = _headers(request)
    body = read_raw(request, limit)
    with request_span(request.path, headers) as span:
        request_id = django_request(request).request_id  # type: ignore[attr-defined]
        intake_request = IntakeRequest(
            caller=caller_of(request), request_id=request_id, headers=headers, body=body, span=span
        )
        answer, django_request(request).rate_limit = run_now(receive(_PORTS, intake_request))  # type: ignore[attr-defined]
        if isinstance(answer, Problem):
            raise answer
        if span is not None:
            span.note("http.response.status_code", answer.status)
    return HttpResponse(answer.body, status=answer.status, content_type="application/json")


def _headers(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def read_criteria(request: Request, page: Page) -> EventCriteria:
    """The FILTERS of a list of events. Raises Problem 422."""
    status = request.query_params.get("status")
    if status is not None and status not in list(EventStatus):
        raise invalid("/status", "invalid", f"status is one of {', '.join(EventStatus)}.")
    return EventCriteria(
        **{name: read_text(request, name) for name in ("type", "source", "subject", "status")},
        time_from=read_time(request, "received_after"),
        time_to=read_time(request, "received_before"),
        before=None if page.before is None else UUID(page.before),
    )
