from django.urls import path, register_converter

from ingestion.api.event_types import EventTypesView, EventTypeView
from ingestion.api.events import BatchView, CancelEventView
from ingestion.api.stream import EventStreamView


class TypeNameConverter:
    """A name of an event type: it may have slashes."""

    regex = r"[A-Za-z0-9._/-]{1,255}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(TypeNameConverter, "type_name")

urlpatterns = [
    path("events/batch", BatchView.as_view(), name="api-events-batch"),
    path("events/stream", EventStreamView.as_view(), name="api-events-stream"),
    path("events/<uuid:event_id>/cancel", CancelEventView.as_view(), name="api-event-cancel"),
    path("event-types", EventTypesView.as_view(), name="api-event-types"),
    path("event-types/<type_name:name>", EventTypeView.as_view(), name="api-event-type"),
]
