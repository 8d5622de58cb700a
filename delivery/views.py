"""`/api/v1/inbox`."""

from uuid import UUID

from django.http import Http404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from delivery import openapi
from delivery.models import DEFAULT_INBOX, Delivery, DeliveryStatus
from delivery.openapi import Ack, AckOutcome, InboxEvent, InboxEventList
from delivery.operations import ack_events, find_inbox
from ingestion.models import Event
from ingestion.presenting import describe_event
from organizations.authentication import caller_of
from organizations.scopes import Scope
from rest.lists import check_parameters, newest_first, read_page
from rest.parsing import decode, read_body
from rest.problems import invalid

BODY_LIMIT = 128 * 1024


class InboxView(APIView):
    """The events of an inbox, without taking them."""

    scopes = {"GET": Scope.INBOX_CONSUME}
    operations = openapi.LIST

    def get(self, request: Request) -> Response:
        page = read_page(request, "inbox", ("inbox", "status"))
        status = request.query_params.get("status", DeliveryStatus.PENDING.value)
        if status not in DeliveryStatus.values:
            raise invalid("/status", "invalid", f"status is one of {', '.join(DeliveryStatus.values)}.")
        inbox_id = _inbox_of(request)
        organization_id = caller_of(request).organization_id
        rows = Delivery.objects.for_organization(organization_id).filter(subscription=inbox_id, status=status)
        deliveries, cursor = newest_first(rows, page)
        events = {
            event.pk: event
            for event in Event.objects.for_organization(organization_id).filter(
                pk__in=[delivery.event_id for delivery in deliveries]
            )
        }
        data = [
            InboxEvent(**describe_event(events[delivery.event_id]), status=DeliveryStatus(delivery.status))
            for delivery in deliveries
            if delivery.event_id in events
        ]
        return Response(InboxEventList(data=data, next_cursor=cursor))


class AckView(APIView):
    """Acknowledge events: they leave the pending ones."""

    scopes = {"POST": Scope.INBOX_CONSUME}
    operations = openapi.ACK

    def post(self, request: Request) -> Response:
        check_parameters(request, ("inbox",))
        ack = decode(read_body(request, limit=BODY_LIMIT), Ack)
        outcome = ack_events(
            organization_id=caller_of(request).organization_id,
            inbox_id=_inbox_of(request),
            event_ids=ack.event_ids,
        )
        answer = AckOutcome(
            acknowledged=outcome.acknowledged,
            already_acknowledged=outcome.already_acknowledged,
            stale=[],
            unknown=outcome.unknown,
        )
        return Response(answer)


def _inbox_of(request: Request) -> UUID:
    name = request.query_params.get("inbox", DEFAULT_INBOX)
    inbox_id = find_inbox(organization_id=caller_of(request).organization_id, name=name)
    if inbox_id is None:
        raise Http404
    return inbox_id
