"""Make, change and delete subscriptions."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from core.problems import Problem
from delivery.endpoints.auth_rules import SECRETS
from delivery.endpoints.binding import endpoint_of, given_anew, values_to_give
from delivery.endpoints.masking import restore_masked
from delivery.endpoints.sealed_auth import open_readable_auth
from delivery.endpoints.sealed_headers import open_readable
from delivery.kinds import RULES
from delivery.models import DEFAULT_INBOX, Signature, Subscription, SubscriptionKind, SubscriptionStatus
from delivery.operations.sleeping_inboxes import wake_inbox
from delivery.operations.subscription_fields import (
    SubscriptionChanges,
    changeable_fields,
    checked_fields,
    completed_auth,
    current_value,
    stored_fields,
    summary_of,
)
from delivery.operations.subscription_rows import CLEAN_RECORD, lock_row, log_change, rows_of
from delivery.operations.webhook_secrets import columns_of_secret
from delivery.ordering.queues import let_go
from delivery.usage import usage_of
from delivery.wakeup import wake_sending
from delivery.webhooks.signing import generate_secret
from organizations.audit import Actor
from organizations.limits import hold_limits, refuse_over
from organizations.models import Organization
from organizations.plans import Limits
from rest.versions import require_version

# Deleted ones count until their deliveries have left and retention takes their rows.
MAX_ROWS_FACTOR = 10
# For how long the secret before goes on signing when the kind of signature changes.
OVERLAP = timedelta(days=1)
# The inbox `default` takes every event, and is where consumers look that name none.
_FIXED_OF_DEFAULT = ("name", "event_types", "filter")


@dataclass(frozen=True, kw_only=True)
class CreatedSubscription:
    """`secret` is that of a webhook, `whsec_…`; None for an inbox, and for a webhook that is signed with a key pair."""

    subscription: Subscription
    secret: str | None


def create_subscription(
    *, organization: Organization, kind: SubscriptionKind, changes: SubscriptionChanges, actor: Actor
) -> CreatedSubscription:
    """A new one, which gets the events from now on. Raises Problem 409 (inbox_exists, limit_reached) or 422.

    The host of a URL is resolved, so call it outside of a transaction.
    """
    fields = checked_fields(kind, changes)
    if "headers" in fields:
        fields["headers"] = restore_masked(fields["headers"], {})
    if "auth" in fields:
        fields["auth"] = completed_auth(fields["auth"], None, is_same_endpoint=True)
    if kind is SubscriptionKind.INBOX and fields["name"] == DEFAULT_INBOX:
        raise Problem("inbox_exists", "Every organization has the inbox default.")
    secret = RULES[kind].new_secret(fields.get("signature"))
    of_secret = columns_of_secret(secret, None, timedelta()) if secret else {}
    with _one_inbox_of_each_name(), transaction.atomic():
        limits = hold_limits(organization.pk)
        _refuse_too_many(organization, limits)
        subscription = Subscription.objects.create(
            organization=organization, kind=kind, **of_secret, **stored_fields(fields)
        )
        _refuse_too_much(organization, limits)
        log_change("created", subscription, actor, summary_of({}, fields))
    subscription.refresh_from_db()
    return CreatedSubscription(subscription=subscription, secret=None if subscription.public_key else secret)


def update_subscription(
    *,
    subscription: Subscription,
    changes: SubscriptionChanges,
    actor: Actor,
    expected: Sequence[str] | None = None,
) -> Subscription:
    """Set what `changes` names. `expected`: the versions of changeable_fields() for which it was meant; None for any.

    Raises Problem 404 (just deleted), 409 (inbox_exists, wrong_state), 412 (another version) or 422; among those is
    headers_required, when the URL leads to another endpoint and header values are not given with it.

    The host of a URL is resolved, so call it outside of a transaction.
    """
    fields = checked_fields(SubscriptionKind(subscription.kind), changes)
    if fields.get("order_by") is not None:
        # What it has not got yet was accepted before, and has no order.
        wake_inbox(subscription)
    with _one_inbox_of_each_name(), transaction.atomic():
        locked = lock_row(subscription)
        require_version(expected, changeable_fields(locked))
        fields = _with_stored_values(locked, fields)
        current = {name: current_value(locked, name) for name in fields}
        before = {name: old for name, old in current.items() if not _is_same(old, fields[name])}
        if locked.is_default and (fixed := sorted(before.keys() & set(_FIXED_OF_DEFAULT))):
            raise Problem("wrong_state", f"The inbox default takes every event: its {fixed[0]} cannot be changed.")
        if before:
            after = {name: fields[name] for name in before}
            rows_of(locked).update(changed_at=Now(), **stored_fields(after), **_what_follows(locked, after))
            if not after.keys().isdisjoint(("event_types", "filter")):
                _refuse_too_much(locked.organization, locked.organization.limits)
            log_change("updated", locked, actor, summary_of(before, after))
    locked.refresh_from_db()
    if not before.keys().isdisjoint(("order_by", "on_dead_letter")):
        let_go(locked.pk)
    return locked


def _what_follows(locked: Subscription, after: dict[str, Any]) -> dict[str, Any]:
    """Other columns that change along: another address is another endpoint, another signature needs another secret, and
    with another rate nothing waits for the slot that the one before gave it.
    """
    columns: dict[str, Any] = dict(CLEAN_RECORD) if "url" in after else {}
    if "rate_limit" in after:
        columns["next_slot_at"] = None
        transaction.on_commit(wake_sending)
    if "signature" in after and (after["signature"] == Signature.ASYMMETRIC) != bool(locked.public_key):
        columns |= columns_of_secret(generate_secret(after["signature"]), locked, OVERLAP)
    return columns


def _with_stored_values(locked: Subscription, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, with stored values for masks among the headers and for secrets of `auth` that were left out.

    Raises Problem 422 where nothing is stored, and headers_required where it would go to another endpoint.
    """
    complete, after = dict(fields), fields.get("url", locked.url)
    given, stored = fields.get("headers"), open_readable(locked.headers)
    auth = open_readable_auth(locked.auth)
    errors = values_to_give(given, stored=stored, before=locked.url, after=after)
    is_same_endpoint = endpoint_of(locked.url) == endpoint_of(after)
    if auth and "auth" not in fields and not is_same_endpoint:
        errors += [given_anew("auth", name) for name in SECRETS[auth["type"]]]
    if errors:
        raise Problem("headers_required", errors=errors)
    if given is not None:
        complete["headers"] = restore_masked(given, stored)
    if "auth" in fields:
        complete["auth"] = completed_auth(fields["auth"], auth, is_same_endpoint=is_same_endpoint)
    return complete


@transaction.atomic
def delete_subscription(*, subscription: Subscription, actor: Actor, expected: Sequence[str] | None = None) -> None:
    """Nothing is delivered to it any more. Raises Problem 404 (deleted already), 409 (the inbox default) or 412."""
    require_version(expected, changeable_fields(lock_row(subscription)))
    if subscription.is_default:
        raise Problem("wrong_state", "The inbox default cannot be deleted. Pausing it holds its events.")
    moved = rows_of(subscription).update(
        status=SubscriptionStatus.DELETED,
        changed_at=Now(),
        secret="",
        public_key="",
        auth=None,
        auth_expires_at=None,
        previous_secret="",
        previous_secret_until=None,
        headers={},
        filter=None,
    )
    if not moved:
        raise Problem("not_found")
    log_change("deleted", subscription, actor)


def _is_same(one: Any, other: Any) -> bool:
    """As JSON, where true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _refuse_too_many(organization: Organization, limits: Limits) -> None:
    rows = Subscription.objects.for_organization(organization.pk)
    refuse_over(
        limits.subscriptions,
        used=rows.not_deleted().count(),
        what="subscriptions",
        way_out="Delete one that is not used.",
    )
    refuse_over(
        limits.subscriptions * MAX_ROWS_FACTOR,
        used=rows.count(),
        what="subscriptions with those that were deleted",
        way_out="Wait a day, until those without deliveries have left.",
    )


def _refuse_too_much(organization: Organization, limits: Limits) -> None:
    """Of patterns and filters. A soft limit when several are changed at once."""
    if usage_of(organization.pk, now=timezone.now())["filter_bytes"] > limits.filter_bytes:
        raise Problem(
            "limit_reached",
            f"The event types and filters of all subscriptions have at most {limits.filter_bytes} bytes together."
            " Make some shorter.",
        )


@contextmanager
def _one_inbox_of_each_name() -> Iterator[None]:
    """PostgreSQL knows best; its refusal becomes Problem 409."""
    try:
        yield
    except IntegrityError as error:
        if "one_inbox_per_name" not in str(error):
            raise
        raise Problem("inbox_exists") from error
