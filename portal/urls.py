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
    path("subscriptions/new", subscriptions.create, name="create-subscription"),
    path(f"{_ONE}/", subscriptions.subscription, name="subscription"),
    path(f"{_ONE}/edit", subscriptions.edit, name="edit-subscription"),
    path(f"{_ONE}/delete", subscriptions.delete, name="delete-subscription"),
    path(f"{_ONE}/pause", subscriptions.pause, name="pause-subscription"),
    path(f"{_ONE}/resume", subscriptions.resume, name="resume-subscription"),
    path(f"{_ONE}/test", webhooks.try_out, name="test-webhook"),
    path(f"{_ONE}/secret", webhooks.reveal, name="reveal-secret"),
    path(f"{_ONE}/secret/rotate", webhooks.rotate, name="rotate-secret"),
    path(f"{_ONE}/deliveries/", deliveries.deliveries, name="deliveries"),
    path(f"{_ONE}/deliveries/<uuid:delivery_id>/", deliveries.delivery, name="delivery"),
    path(f"{_ONE}/deliveries/<uuid:delivery_id>/retry", deliveries.retry, name="retry-delivery"),
    path(f"{_ONE}/dead-letters/retry", deliveries.retry_all, name="retry-all"),
]
