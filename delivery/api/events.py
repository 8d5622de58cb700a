"""`/api/v1/events`: the list with what became of its events, and one event."""

from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.problems import invalid
from delivery.api import event_schemas
from delivery.api.event_deliveries import count_deliveries, events_with
from delivery.api.presenting import deliveries_of
from delivery.models import DeliveryStatus
from delivery.queries import own_subscription
from ingestion.api import events
from ingestion.api.events import read_criteria
from ingestion.api.presenting import describe_listed, describe_with_status
from ingestion.models import LARGE
from ingestion.queries import events_among, own_event
from organizations.keys.authentication import caller_of
from organizations.keys.scopes import Scope
from rest.lists import Listing, list_answer, read_page

_BY_DELIVERIES = ("delivery_status", "subscription")


class EventsView(events.EventsView):
    """Send an event; list events, also by their deliveries."""

    operations = event_schemas.EVENTS

    def get(self, request: Request) -> HttpResponseBase:
        given = request.query_params
        if not any(name in given for name in _BY_DELIVERIES):
            return super().get(request)
        page = read_page(request, "events")
        organization_id = caller_of(request).organization_id
        criteria = read_criteria(request, page)
        status = given.get("delivery_status")
        if status is not None and status not in DeliveryStatus.values:
            known = ", ".join(DeliveryStatus.values)
            raise invalid("/delivery_status", "invalid", f"delivery_status is one of {known}.")
        wanted = DeliveryStatus(status) if status else None
        subscription = None
        if "subscription" in given:
            subscription = own_subscription(organization_id, _id_in(given["subscription"]))
        ids, older = events_with(organization_id, criteria, wanted, subscription)
        listing = Listing(
            rows=events_among(organization_id, criteria, ids),
            describe=describe_listed,
            large=LARGE,
            older=older,
        )
        return list_answer(request, page, listing, owner=organization_id)


class EventView(APIView):
    """One event, and what became of it."""

    scopes = {"GET": Scope.EVENTS_READ}
    operations = event_schemas.EVENT

    def get(self, request: Request, event_id: UUID) -> Response:
        event = own_event(caller_of(request).organization_id, event_id)
        counts = count_deliveries([event.pk])[event.pk]
        shown = {**describe_with_status(event), **deliveries_of(event), "delivery_counts": counts}
        return Response(shown)


def _id_in(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise invalid("/subscription", "invalid", "It is the id of a subscription.") from error
