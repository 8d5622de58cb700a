from typing import Any

from django.http import HttpRequest, JsonResponse
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from benchmarks.textbook.models import Event, Organization
from benchmarks.textbook.serializers import EventSerializer
from benchmarks.textbook.tasks import process_event


class EventsView(APIView):
    def post(self, request: Request) -> Response:
        serializer = EventSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        assert isinstance(request.user, Organization)
        event, created = _save(request.user, serializer.validated_data)
        if created:
            process_event.delay(str(event.pk))
        return Response(
            {"id": str(event.pk), "type": event.type, "duplicate": not created, "received_at": event.received_at},
            status=status.HTTP_202_ACCEPTED if created else status.HTTP_200_OK,
        )


def _save(organization: Organization, values: dict[str, Any]) -> tuple[Event, bool]:
    key = values.pop("idempotency_key", None)
    if key is None:
        return Event.objects.create(organization=organization, **values), True
    return Event.objects.get_or_create(organization=organization, idempotency_key=key, defaults=values)


def health(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})
