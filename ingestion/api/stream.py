"""`/api/v1/events/stream`: the feed."""

from uuid import UUID

from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.views import APIView

from core.problems import invalid
from ingestion.api import stream_schemas
from ingestion.feed.reading import Place, place_after, place_now
from ingestion.feed.tail import Filter, Stream, held_open, one_look
from organizations.keys.authentication import caller_of
from organizations.keys.scopes import Scope
from rest.compat import django_request
from rest.doors import waiting
from rest.doors.streams import MEDIA_TYPE
from rest.lists import read_text

_FILTERS = ("type", "source", "subject")


class EventStreamView(APIView):
    """New events as they are committed, as server-sent events."""

    scopes = {"GET": Scope.EVENTS_READ}
    operations = stream_schemas.STREAM

    def get(self, request: Request) -> StreamingHttpResponse:
        caller = caller_of(request)
        wanted = Filter(**{name: read_text(request, name) for name in _FILTERS})
        place = _place(request, caller.organization_id)
        stream = Stream(caller.organization_id, caller.key_id, wanted, place)
        if isinstance(django_request(request), ASGIRequest):
            room = waiting.hold(waiting.event_streams, caller.organization_id.int)
            answer = StreamingHttpResponse(held_open(stream, room), content_type=MEDIA_TYPE)
        else:
            answer = StreamingHttpResponse(one_look(stream), content_type=MEDIA_TYPE)
        answer["X-Accel-Buffering"] = "no"
        return answer


def _place(request: Request, organization_id: UUID) -> Place:
    now, last = timezone.now(), request.headers.get("Last-Event-ID", "")
    if not last:
        return place_now(now)
    try:
        return place_after(organization_id, UUID(last), now)
    except ValueError as error:
        raise invalid("/Last-Event-ID", "invalid", "It is the id of an event.") from error
