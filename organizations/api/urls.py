from django.urls import path

from organizations.api.keys import KeysView, KeyView, RotateKeyView
from organizations.api.organization import OrganizationView

urlpatterns = [
    path("organization", OrganizationView.as_view(), name="api-organization"),
    path("api-keys", KeysView.as_view(), name="api-keys"),
    path("api-keys/<uuid:key_id>", KeyView.as_view(), name="api-key"),
    path("api-keys/<uuid:key_id>/rotate", RotateKeyView.as_view(), name="api-key-rotate"),
]
