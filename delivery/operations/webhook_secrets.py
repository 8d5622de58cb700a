"""The secrets of webhooks: renew them, show them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Now

from core.problems import Problem
from core.secrets import decrypt_secret, encrypt_secret
from delivery.models import Subscription, SubscriptionKind
from delivery.operations.subscription_rows import lock_row, log_change, rows_of
from delivery.webhooks.signing import generate_secret
from organizations.audit import Actor


@dataclass(frozen=True, kw_only=True)
class WebhookSecret:
    """The secret, `whsec_…`, and until when the one before it signs too."""

    secret: str
    previous_until: datetime | None


@transaction.atomic
def rotate_secret(*, subscription: Subscription, overlap: timedelta, actor: Actor) -> WebhookSecret:
    """A new secret, at once; the previous one signs too during `overlap`. Raises Problem 409 for an inbox."""
    require_webhook(subscription)
    locked = lock_row(subscription)
    secret = generate_secret()
    rows_of(locked).update(
        secret=encrypt_secret(secret),
        previous_secret=locked.secret if overlap else "",
        previous_secret_until=Now() + Value(overlap) if overlap else None,
        changed_at=Now(),
    )
    log_change("secret_rotated", locked, actor, {"overlap_seconds": int(overlap.total_seconds())})
    locked.refresh_from_db()
    return WebhookSecret(secret=secret, previous_until=locked.previous_secret_until)


@transaction.atomic
def show_secret(*, subscription: Subscription, actor: Actor, now: datetime) -> WebhookSecret:
    """The secret, with an entry in the audit log that it was shown. Raises Problem 409 for an inbox."""
    require_webhook(subscription)
    log_change("secret_shown", subscription, actor)
    until = subscription.previous_secret_until
    return WebhookSecret(
        secret=decrypt_secret(subscription.secret), previous_until=until if until and until > now else None
    )


def require_webhook(subscription: Subscription) -> None:
    """Raises Problem 409 for an inbox, to which nothing is sent."""
    if subscription.kind != SubscriptionKind.WEBHOOK:
        raise Problem("wrong_state", "This subscription is an inbox. Only a webhook has a secret and can be tested.")
