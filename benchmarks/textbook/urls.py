from django.urls import path

from benchmarks.textbook.views import EventsView, health

urlpatterns = [
    path("api/v1/events", EventsView.as_view()),
    path("health/live", health),
]
