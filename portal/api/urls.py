from django.urls import path

from portal.api.views import PortalLinksView

urlpatterns = [path("portal-links", PortalLinksView.as_view(), name="api-portal-links")]
