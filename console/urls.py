"""The console: `/console/o/<slug>/…` is the organization's; the few pages of no organization come first."""

from django.contrib.auth.views import LogoutView
from django.urls import include, path

from accounts.sign_in.page import SignInView
from console import manage_urls
from console.event import views as event
from console.events import views as events
from console.home import views as home
from console.live import views as live
from console.overview import views as overview
from console.rejected import views as rejected
from console.search import views as search
from console.send import views as send
from console.start import views as start
from console.theme import views as theme

app_name = "console"

of_organization = [
    path("", overview.overview, name="overview"),
    path("search/", search.search, name="search"),
    path("start/", start.start, name="start"),
    path("start/status", start.status, name="start-status"),
    path("events/", events.events, name="organization-events"),
    path("events/<uuid:event_id>/", event.event, name="event"),
    path("events/<uuid:event_id>/raw", event.raw, name="event-raw"),
    path("events/<uuid:event_id>/replay", event.replay, name="replay"),
    path("events/<uuid:event_id>/cancel", event.cancel, name="cancel-event"),
    path("send/", send.send, name="send-event"),
    path("rejected/", rejected.rejected, name="rejected"),
    path("deliveries/<uuid:delivery_id>/retry", event.retry, name="retry"),
    path("views/save", events.save, name="save-view"),
    path("views/<int:view_id>/delete", events.delete, name="delete-view"),
    path("live/", live.live, name="live"),
    path("live/stream", live.stream, name="live-stream"),
    *manage_urls.of_organization,
]

urlpatterns = [
    path("", home.home, name="home"),
    path("organizations/", home.organizations, name="organizations"),
    path("organizations/near", home.near_organizations, name="near-organizations"),
    path("theme", theme.choose, name="theme"),
    path("search/", search.search_all, name="search-all"),
    path("events/", events.all_events, name="events"),
    path("live/", live.all_live, name="all-live"),
    path("live/stream", live.all_stream, name="all-live-stream"),
    *manage_urls.of_nobody,
    path("o/<slug:slug>/", include(of_organization)),
    path("sign-in/", SignInView.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
]
