from django.urls import path

from ingestion.views import EventsView, EventView, OrganizationView

urlpatterns = [
    path("organization", OrganizationView.as_view(), name="api-organization"),
    path("events", EventsView.as_view(), name="api-events"),
    path("events/<uuid:event_id>", EventView.as_view(), name="api-event"),
]
