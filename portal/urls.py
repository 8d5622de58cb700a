"""`/portal/…`: pages of whoever came by a link."""

from django.urls import path

from portal.pages import deliveries, sessions, subscriptions, webhooks

app_name = "portal"
_ONE = "subscriptions/<uuid:subscription_id>"

urlpatterns = [
    path("", subscriptions.subscriptions, name="subscriptions"),
    path("open/<str:token>", sessions.open_portal, name="open"),
    path("sign-out", sessions.sign_out, name="sign-out"),
    path("theme.css", sessions.theme, name="theme"),
    path("subscriptions/new", subscriptions.create, name="create"),
    path(f"{_ONE}/", subscriptions.subscription, name="subscription"),
    path(f"{_ONE}/edit", subscriptions.edit, name="edit"),
    path(f"{_ONE}/delete", subscriptions.delete, name="delete"),
    path(f"{_ONE}/pause", subscriptions.pause, name="pause"),
    path(f"{_ONE}/resume", subscriptions.resume, name="resume"),
    path(f"{_ONE}/test", webhooks.try_out, name="test"),
    path(f"{_ONE}/secret", webhooks.reveal, name="secret"),
    path(f"{_ONE}/secret/rotate", webhooks.rotate, name="rotate"),
    path(f"{_ONE}/deliveries/", deliveries.deliveries, name="deliveries"),
    path(f"{_ONE}/deliveries/<uuid:delivery_id>/", deliveries.delivery, name="delivery"),
    path(f"{_ONE}/deliveries/<uuid:delivery_id>/retry", deliveries.retry, name="retry"),
    path(f"{_ONE}/dead-letters/retry", deliveries.retry_all, name="retry-all"),
]
