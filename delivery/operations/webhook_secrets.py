"""The secrets of webhooks: renew them, show them. Private keys are shown to nobody, only the public ones."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Now

from core.problems import Problem
from core.secrets import decrypt_secret, encrypt_secret
from delivery.models import Signature, Subscription, SubscriptionKind
from delivery.operations.subscription_rows import lock_row, log_change, rows_of
from delivery.webhooks.signing import generate_secret, public_key
from organizations.audit import Actor


@dataclass(frozen=True, kw_only=True)
class WebhookSecret:
    """The secret, `whsec_…`, or None and the public key, `whpk_…`; and until when the one before it signs too."""

    secret: str | None
    public_key: str
    previous_until: datetime | None


@transaction.atomic
def rotate_secret(*, subscription: Subscription, overlap: timedelta, actor: Actor) -> WebhookSecret:
    """A new secret, at once; the previous one signs too during `overlap`. Raises Problem 409 for an inbox."""
    require_webhook(subscription)
    locked = lock_row(subscription)
    rows_of(locked).update(changed_at=Now(), **columns_of_secret(generate_secret(locked.signature), locked, overlap))
    log_change("secret_rotated", locked, actor, {"overlap_seconds": int(overlap.total_seconds())})
    locked.refresh_from_db()
    return _shown(locked, until=locked.previous_secret_until)


@transaction.atomic
def show_secret(*, subscription: Subscription, actor: Actor, now: datetime) -> WebhookSecret:
    """The secret, with an entry in the audit log that it was shown. Raises Problem 409 for an inbox."""
    require_webhook(subscription)
    log_change("secret_shown", subscription, actor)
    until = subscription.previous_secret_until
    return _shown(subscription, until=until if until and until > now else None)


def columns_of_secret(secret: str, before: Subscription | None, overlap: timedelta) -> dict[str, Any]:
    """What a row holds of its new secret; that of `before` signs beside it during `overlap`."""
    kept = before.secret if before and overlap else ""
    return {
        "secret": encrypt_secret(secret),
        "public_key": public_key(secret),
        "previous_secret": kept,
        "previous_secret_until": Now() + Value(overlap) if kept else None,
    }


def _shown(subscription: Subscription, *, until: datetime | None) -> WebhookSecret:
    is_private = subscription.signature == Signature.ASYMMETRIC
    secret = None if is_private else decrypt_secret(subscription.secret)
    return WebhookSecret(secret=secret, public_key=subscription.public_key, previous_until=until)


def require_webhook(subscription: Subscription) -> None:
    """Raises Problem 409 for an inbox, to which nothing is sent."""
    if subscription.kind != SubscriptionKind.WEBHOOK:
        raise Problem("wrong_state", "This subscription is an inbox. Only a webhook has a secret and can be tested.")
