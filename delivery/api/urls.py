from django.urls import path

from delivery.api.events import EventsView, EventView
from delivery.api.inbox.views import AckView, ExtendView, InboxView, LeaseView, NackView
from delivery.api.jobs import CancelJobView, JobView, StartRetryView
from delivery.api.replays import CancelReplayView, ReplaysView, ReplayView, RetryDeadLettersView
from delivery.api.subscriptions import (
    DeliveryView,
    PauseView,
    ResumeView,
    RetryView,
    RotateSecretView,
    SecretView,
    SkipView,
    SubscriptionDeliveriesView,
    SubscriptionsView,
    SubscriptionView,
    TestView,
)

_SUBSCRIPTION = "subscriptions/<uuid:subscription_id>"

urlpatterns = [
    path("events", EventsView.as_view(), name="api-events"),
    path("events/<uuid:event_id>", EventView.as_view(), name="api-event"),
    path("subscriptions", SubscriptionsView.as_view(), name="api-subscriptions"),
    path(_SUBSCRIPTION, SubscriptionView.as_view(), name="api-subscription"),
    path(f"{_SUBSCRIPTION}/pause", PauseView.as_view(), name="api-subscription-pause"),
    path(f"{_SUBSCRIPTION}/resume", ResumeView.as_view(), name="api-subscription-resume"),
    path(f"{_SUBSCRIPTION}/secret", SecretView.as_view(), name="api-subscription-secret"),
    path(f"{_SUBSCRIPTION}/rotate-secret", RotateSecretView.as_view(), name="api-subscription-rotate-secret"),
    path(f"{_SUBSCRIPTION}/test", TestView.as_view(), name="api-subscription-test"),
    path(f"{_SUBSCRIPTION}/deliveries", SubscriptionDeliveriesView.as_view(), name="api-subscription-deliveries"),
    path(f"{_SUBSCRIPTION}/retry-dead-letters", RetryDeadLettersView.as_view(), name="api-retry-dead-letters"),
    path(f"{_SUBSCRIPTION}/dead-letters/retry", StartRetryView.as_view(), name="api-start-retry"),
    path("deliveries/<uuid:delivery_id>", DeliveryView.as_view(), name="api-delivery"),
    path("deliveries/<uuid:delivery_id>/retry", RetryView.as_view(), name="api-delivery-retry"),
    path("deliveries/<uuid:delivery_id>/skip", SkipView.as_view(), name="api-delivery-skip"),
    path("inbox", InboxView.as_view(), name="api-inbox"),
    path("inbox/lease", LeaseView.as_view(), name="api-inbox-lease"),
    path("inbox/ack", AckView.as_view(), name="api-inbox-ack"),
    path("inbox/nack", NackView.as_view(), name="api-inbox-nack"),
    path("inbox/extend", ExtendView.as_view(), name="api-inbox-extend"),
    path("replays", ReplaysView.as_view(), name="api-replays"),
    path("replays/<uuid:replay_id>", ReplayView.as_view(), name="api-replay"),
    path("replays/<uuid:replay_id>/cancel", CancelReplayView.as_view(), name="api-replay-cancel"),
    path("jobs/<uuid:job_id>", JobView.as_view(), name="api-job"),
    path("jobs/<uuid:job_id>/cancel", CancelJobView.as_view(), name="api-job-cancel"),
]
