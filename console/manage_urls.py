"""The URLs of the pages by which members help themselves, below an organization's."""

from django.urls import path

from console.views import audit, deliveries, event_types, keys, replays, subscriptions, usage, webhooks

of_organization = [
    path("keys/", keys.keys, name="keys"),
    path("keys/issue", keys.issue, name="issue-key"),
    path("keys/<uuid:key_id>/rotate", keys.rotate, name="rotate-key"),
    path("keys/<uuid:key_id>/revoke", keys.revoke, name="revoke-key"),
    path("subscriptions/", subscriptions.subscriptions, name="subscriptions"),
    path("subscriptions/new", subscriptions.create, name="create-subscription"),
    path("subscriptions/<uuid:subscription_id>/", subscriptions.subscription, name="subscription"),
    path("subscriptions/<uuid:subscription_id>/edit", subscriptions.edit, name="edit-subscription"),
    path("subscriptions/<uuid:subscription_id>/delete", subscriptions.delete, name="delete-subscription"),
    path("subscriptions/<uuid:subscription_id>/pause", subscriptions.pause, name="pause-subscription"),
    path("subscriptions/<uuid:subscription_id>/resume", subscriptions.resume, name="resume-subscription"),
    path("subscriptions/<uuid:subscription_id>/secret/rotate", webhooks.rotate, name="rotate-secret"),
    path("subscriptions/<uuid:subscription_id>/secret/show", webhooks.reveal, name="reveal-secret"),
    path("subscriptions/<uuid:subscription_id>/test", webhooks.try_out, name="test-webhook"),
    path("subscriptions/<uuid:subscription_id>/deliveries/", deliveries.deliveries, name="deliveries"),
    path("subscriptions/<uuid:subscription_id>/deliveries/<uuid:delivery_id>/", deliveries.delivery, name="delivery"),
    path(
        "subscriptions/<uuid:subscription_id>/deliveries/<uuid:delivery_id>/retry",
        deliveries.retry,
        name="retry-delivery",
    ),
    path("subscriptions/<uuid:subscription_id>/dead-letters/", deliveries.dead_letters, name="dead-letters"),
    path("subscriptions/<uuid:subscription_id>/dead-letters/retry", deliveries.retry_selected, name="retry-selected"),
    path("subscriptions/<uuid:subscription_id>/dead-letters/retry-all", deliveries.retry_all, name="retry-all"),
    path("subscriptions/<uuid:subscription_id>/replay", replays.create, name="create-replay"),
    path("event-types/", event_types.event_types, name="event-types"),
    path("event-types/new", event_types.create, name="create-event-type"),
    path("event-types/<int:type_id>/", event_types.event_type, name="event-type"),
    path("event-types/<int:type_id>/edit", event_types.edit, name="edit-event-type"),
    path("event-types/<int:type_id>/delete", event_types.delete, name="delete-event-type"),
    path("usage/", usage.usage, name="usage"),
    path("audit/", audit.audit, name="audit"),
    path("replays/", replays.replays, name="replays"),
    path("replays/<uuid:replay_id>/", replays.progress, name="replay-progress"),
    path("replays/<uuid:replay_id>/cancel", replays.cancel, name="cancel-replay"),
]
