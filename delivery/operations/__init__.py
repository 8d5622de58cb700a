"""What can be done with deliveries."""

from delivery.operations.dead_letters import (
    RetriedDeadLetters,
    dead_letters_of,
    retry_dead_letters,
    retry_of_all,
    run_dead_letter_retries,
    start_retry,
)
from delivery.operations.deliveries import retry_delivery, skip_delivery
from delivery.operations.fan_out import default_inboxes, fan_out
from delivery.operations.holding import close_circuit, pause_subscription, resume_subscription, try_endpoint
from delivery.operations.inbox import Settlement, ack_events, find_inbox, inbox_deliveries, nack_events
from delivery.operations.inbox_leases import Lease, extend_lease, lease_events
from delivery.operations.jobs import cancel_job
from delivery.operations.replays import ReplayRequest, create_replay, run_replays
from delivery.operations.sleeping_inboxes import fill_page, wake_inbox
from delivery.operations.subscription_fields import SubscriptionChanges, changeable_fields, checked_fields
from delivery.operations.subscriptions import (
    CreatedSubscription,
    create_subscription,
    delete_subscription,
    update_subscription,
)
from delivery.operations.webhook_secrets import WebhookSecret, require_webhook, rotate_secret, show_secret

__all__ = [
    "CreatedSubscription",
    "Lease",
    "ReplayRequest",
    "RetriedDeadLetters",
    "Settlement",
    "SubscriptionChanges",
    "WebhookSecret",
    "ack_events",
    "cancel_job",
    "changeable_fields",
    "checked_fields",
    "close_circuit",
    "create_replay",
    "create_subscription",
    "dead_letters_of",
    "default_inboxes",
    "delete_subscription",
    "extend_lease",
    "fan_out",
    "fill_page",
    "find_inbox",
    "inbox_deliveries",
    "lease_events",
    "nack_events",
    "pause_subscription",
    "require_webhook",
    "resume_subscription",
    "retry_dead_letters",
    "retry_delivery",
    "retry_of_all",
    "rotate_secret",
    "run_dead_letter_retries",
    "run_replays",
    "show_secret",
    "skip_delivery",
    "start_retry",
    "try_endpoint",
    "update_subscription",
    "wake_inbox",
]
