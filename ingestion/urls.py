from django.urls import path

from ingestion.views import EventsView, EventView

urlpatterns = [
    path("events", EventsView.as_view(), name="api-events"),
    path("events/<uuid:event_id>", EventView.as_view(), name="api-event"),
]
