from django.urls import path

from organizations.api.keys import KeysView, KeyView, RotateKeyView

urlpatterns = [
    path("api-keys", KeysView.as_view(), name="api-keys"),
    path("api-keys/<uuid:key_id>", KeyView.as_view(), name="api-key"),
    path("api-keys/<uuid:key_id>/rotate", RotateKeyView.as_view(), name="api-key-rotate"),
]
