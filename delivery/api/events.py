"""`/api/v1/events/{id}`."""

from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from delivery.api import event_schemas
from delivery.api.presenting import deliveries_of
from ingestion.api.presenting import describe_with_status
from ingestion.queries import own_event
from organizations.keys.authentication import caller_of
from organizations.keys.scopes import Scope


class EventView(APIView):
    """One event, and what became of it."""

    scopes = {"GET": Scope.EVENTS_READ}
    operations = event_schemas.EVENT

    def get(self, request: Request, event_id: UUID) -> Response:
        event = own_event(caller_of(request).organization_id, event_id)
        return Response({**describe_with_status(event), **deliveries_of(event)})
