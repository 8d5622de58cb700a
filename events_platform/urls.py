"""Every URL of the platform."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from installation.health import views as health
from installation.health.page import health_page
from installation.health.seen import seen
from observability.metrics.views import metrics
from portal.settings import views as portal_settings
from rest import api_docs
from rest.views import ProblemTypesView

handler500 = "rest.views.server_error"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="console:home"), name="home"),
    path("account/", include("accounts.urls")),
    # Django's sign-in page of the admin links to this name.
    path(
        "admin/password-reset/",
        RedirectView.as_view(pattern_name="account_reset_password"),
        name="admin_password_reset",
    ),
    path("admin/", admin.site.urls),
    path("console/health/", health_page, name="health-page"),
    path("console/o/<slug:slug>/portal/", portal_settings.appearance, name="portal-settings"),
    path("console/o/<slug:slug>/portal/end", portal_settings.end, name="portal-settings-end"),
    path("console/", include("console.urls")),
    path("portal/", include("portal.urls")),
    path("api/v1/", include("organizations.api.urls")),
    path("api/v1/", include("ingestion.api.urls")),
    path("api/v1/", include("delivery.api.urls")),
    path("api/v1/", include("portal.api.urls")),
    path("api/schema", api_docs.schema, name="api-schema"),
    path("api/docs", api_docs.docs, name="api-docs"),
    path("llms.txt", api_docs.llms, name="llms"),
    path("docs/errors", ProblemTypesView.as_view(), name="problem-types"),
    path("metrics", metrics, name="metrics"),
    path("health/live", health.live, name="health-live"),
    path("health/ready", health.ready, name="health-ready"),
    path("health/status", health.status, name="health-status"),
    path("health/seen", seen, name="health-seen"),
]
