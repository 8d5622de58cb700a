"""`/api/v1/events`, and `/api/v1/organization` with its usage."""

from typing import ClassVar
from uuid import UUID

from django.http import Http404
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion.decoding import MAX_BODY_BYTES, decode_event
from ingestion.models import Event, EventStatus
from ingestion.operations import accept_event
from ingestion.presenting import describe_event
from ingestion.selecting import EventFilter, select_events
from ingestion.usage import usage_of
from organizations.authentication import caller_of
from organizations.models import Organization
from organizations.scopes import Scope
from rest.lists import check_parameters, newest_first, read_page, read_time
from rest.parsing import read_body
from rest.problems import invalid
from rest.rendering import format_time

_FILTERS = ("type", "source", "subject", "received_after", "received_before", "status")


class EventsView(APIView):
    """Send an event; list events."""

    scopes = {"POST": Scope.EVENTS_WRITE, "GET": Scope.EVENTS_READ}

    def post(self, request: Request) -> Response:
        body = read_body(request, limit=MAX_BODY_BYTES)
        event = decode_event(body, header_key=request.headers.get("Idempotency-Key"))
        accepted = accept_event(organization_id=caller_of(request).organization_id, event=event)
        answer = {
            "id": str(accepted.id),
            "type": accepted.type,
            "status": EventStatus.ACCEPTED,
            "duplicate": accepted.duplicate,
            "received_at": format_time(accepted.received_at),
        }
        return Response(answer, status=200 if accepted.duplicate else 202)

    def get(self, request: Request) -> Response:
        page = read_page(request, "events", _FILTERS)
        events = select_events(caller_of(request).organization_id, _read_filter(request))
        found, cursor = newest_first(events, page)
        data = [{**describe_event(event), "status": event.status} for event in found]
        return Response({"data": data, "next_cursor": cursor})


class EventView(APIView):
    """One event."""

    scopes = {"GET": Scope.EVENTS_READ}

    def get(self, request: Request, event_id: UUID) -> Response:
        events = Event.objects.for_organization(caller_of(request).organization_id)
        event = events.with_status().filter(pk=event_id).first()
        if event is None:
            raise Http404
        return Response({**describe_event(event), "status": event.status})


class OrganizationView(APIView):
    """The caller's own organization: plan, limits, usage."""

    scopes: ClassVar[dict[str, str]] = {}

    def get(self, request: Request) -> Response:
        check_parameters(request, ())
        organization = Organization.objects.get(pk=caller_of(request).organization_id)
        return Response(
            {
                "id": str(organization.id),
                "name": organization.name,
                "slug": organization.slug,
                "plan": organization.plan,
                "suspended": organization.suspended_at is not None,
                "limits": vars(organization.limits),
                "usage": usage_of(organization.pk, now=timezone.now()),
                "created_at": format_time(organization.created_at),
            }
        )


def _read_filter(request: Request) -> EventFilter:
    given = request.query_params.get
    status = given("status")
    if status is not None and status not in list(EventStatus):
        raise invalid("/status", "invalid", f"status is one of {', '.join(EventStatus)}.")
    return EventFilter(
        type=given("type"),
        source=given("source"),
        subject=given("subject"),
        received_after=read_time(request, "received_after"),
        received_before=read_time(request, "received_before"),
        status=EventStatus(status) if status else None,
    )
