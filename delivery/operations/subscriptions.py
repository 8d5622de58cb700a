"""Make, change and delete subscriptions; hold and resume them; renew the secrets of webhooks."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, Value
from django.db.models.functions import Now
from django.utils import timezone
from msgspec import UNSET, UnsetType

from core.postgresql.lending import give_back
from core.problems import Problem, invalid
from core.secrets import decrypt_secret, encrypt_secret
from delivery.endpoints.binding import require_values
from delivery.endpoints.header_rules import check_headers
from delivery.endpoints.masking import restore_masked
from delivery.endpoints.sealed_headers import open_readable, seal_headers
from delivery.kinds import RULES
from delivery.matching.filters import compile_filter
from delivery.matching.matching import check_patterns
from delivery.models import (
    DEFAULT_INBOX,
    Delivery,
    DeliveryStatus,
    Subscription,
    SubscriptionKind,
    SubscriptionQuerySet,
    SubscriptionStatus,
)
from delivery.usage import usage_of
from delivery.wakeup import wake_sending
from delivery.webhooks.guard import NetworkPolicy, UnsafeUrl, check_destination
from delivery.webhooks.signing import generate_secret
from organizations.audit import Actor, record
from organizations.limits import hold_limits, refuse_over
from organizations.models import Organization
from organizations.plans import Limits
from rest.versions import require_version

# Deleted ones count until their deliveries have left and retention takes their rows.
MAX_ROWS_FACTOR = 10
# Retries that a resumed subscription gets at once, the oldest first: a second's work in one transaction. The others
# keep the times of their schedule.
MAX_HASTENED = 10_000

# Of an endpoint that was repaired, or is another one.
CLEAN_RECORD: dict[str, Any] = {
    "failing_since": None,
    "failures": 0,
    "circuit_step": 0,
    "circuit_open_until": None,
    "circuit_probe_at": None,
}
# The inbox `default` takes every event, and is where consumers look that name none.
_FIXED_OF_DEFAULT = ("name", "event_types", "filter")
# These may hold tokens or be long, and are shown elsewhere: the audit log only says that they changed.
_NOT_FOR_THE_LOG = ("url", "headers", "filter")


@dataclass(frozen=True, kw_only=True)
class SubscriptionChanges:
    """What to set; UNSET leaves a field as it is, or as it is by default."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    event_types: Sequence[str] | UnsetType = UNSET
    filter: Mapping[str, Any] | UnsetType | None = UNSET
    url: str | UnsetType = UNSET
    headers: Mapping[str, str] | UnsetType = UNSET
    max_leases: int | UnsetType = UNSET


@dataclass(frozen=True, kw_only=True)
class CreatedSubscription:
    """`secret` is that of a webhook, `whsec_…`; None for an inbox."""

    subscription: Subscription
    secret: str | None


@dataclass(frozen=True, kw_only=True)
class WebhookSecret:
    """The secret, `whsec_…`, and until when the one before it signs too."""

    secret: str
    previous_until: datetime | None


def create_subscription(
    *, organization: Organization, kind: SubscriptionKind, changes: SubscriptionChanges, actor: Actor
) -> CreatedSubscription:
    """A new one, which gets the events from now on. Raises Problem 409 (inbox_exists, limit_reached) or 422.

    The host of a URL is resolved, so call it outside of a transaction.
    """
    fields = _checked_fields(kind, changes)
    if "headers" in fields:
        fields["headers"] = restore_masked(fields["headers"], {})
    if kind is SubscriptionKind.INBOX and fields["name"] == DEFAULT_INBOX:
        raise Problem("inbox_exists", "Every organization has the inbox default.")
    secret = RULES[kind].new_secret()
    with _one_inbox_of_each_name(), transaction.atomic():
        limits = hold_limits(organization.pk)
        _refuse_too_many(organization, limits)
        subscription = Subscription.objects.create(
            organization=organization, kind=kind, secret=encrypt_secret(secret) if secret else "", **_stored(fields)
        )
        _refuse_too_much(organization, limits)
        _record("created", subscription, actor, _summary({}, fields))
    subscription.refresh_from_db()
    return CreatedSubscription(subscription=subscription, secret=secret)


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
    fields = _checked_fields(SubscriptionKind(subscription.kind), changes)
    with _one_inbox_of_each_name(), transaction.atomic():
        locked = _lock(subscription)
        require_version(expected, changeable_fields(locked))
        fields = _with_stored_values(locked, fields)
        before = {name: old for name, value in fields.items() if not _is_same(old := _current(locked, name), value)}
        if locked.is_default and (fixed := sorted(before.keys() & set(_FIXED_OF_DEFAULT))):
            raise Problem("wrong_state", f"The inbox default takes every event: its {fixed[0]} cannot be changed.")
        if before:
            after = {name: fields[name] for name in before}
            # Another address is another endpoint.
            record = CLEAN_RECORD if "url" in after else {}
            _rows(locked).update(changed_at=Now(), **_stored(after), **record)
            if not after.keys().isdisjoint(("event_types", "filter")):
                _refuse_too_much(locked.organization, locked.organization.limits)
            _record("updated", locked, actor, _summary(before, after))
    locked.refresh_from_db()
    return locked


def _with_stored_values(locked: Subscription, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, masks among the headers replaced by what they stand for. Raises Problem 422 where nothing may be."""
    given, stored = fields.get("headers"), open_readable(locked.headers)
    if "url" in fields:
        require_values(given, stored=stored, before=locked.url, after=fields["url"])
    return fields if given is None else {**fields, "headers": restore_masked(given, stored)}


def changeable_fields(subscription: Subscription) -> dict[str, Any]:
    """What update_subscription() can set, as it is; rest.versions makes the version from it."""
    others = {name for rules in RULES.values() for name in rules.own_fields} - set(subscription.rules.own_fields)
    names = [name for name in SubscriptionChanges.__dataclass_fields__ if name not in others]
    return {name: _current(subscription, name) for name in names}


@transaction.atomic
def delete_subscription(*, subscription: Subscription, actor: Actor, expected: Sequence[str] | None = None) -> None:
    """Nothing is delivered to it any more. Raises Problem 404 (deleted already), 409 (the inbox default) or 412."""
    require_version(expected, changeable_fields(_lock(subscription)))
    if subscription.is_default:
        raise Problem("wrong_state", "The inbox default cannot be deleted. Pausing it holds its events.")
    moved = _rows(subscription).update(
        status=SubscriptionStatus.DELETED,
        changed_at=Now(),
        secret="",
        previous_secret="",
        previous_secret_until=None,
        headers={},
        filter=None,
    )
    if not moved:
        raise Problem("not_found")
    _record("deleted", subscription, actor)


@transaction.atomic
def pause_subscription(*, subscription: Subscription, actor: Actor) -> Subscription:
    """Hold its deliveries until it is resumed. A paused one stays so; a disabled one is a Problem 409."""
    moved = (
        _rows(subscription)
        .filter(status=SubscriptionStatus.ACTIVE)
        .update(status=SubscriptionStatus.PAUSED, changed_at=Now())
    )
    if moved:
        _record("paused", subscription, actor)
    current = _lock(subscription)
    if current.status == SubscriptionStatus.DISABLED:
        raise Problem("wrong_state", "A disabled subscription holds its deliveries already. Resume it to enable it.")
    return current


@transaction.atomic
def resume_subscription(*, subscription: Subscription, actor: Actor) -> Subscription:
    """Deliver again, what was held first, with a clean record. Of an active one it ends the rest of the endpoint."""
    held = Q(status__in=[SubscriptionStatus.PAUSED, SubscriptionStatus.DISABLED]) | Q(circuit_open_until__isnull=False)
    moved = (
        _rows(subscription)
        .filter(held)
        .update(
            status=SubscriptionStatus.ACTIVE,
            changed_at=Now(),
            disabled_reason="",
            disabled_at=None,
            **CLEAN_RECORD,
        )
    )
    if moved:
        _hasten_retries(subscription)
        _record("resumed", subscription, actor)
        transaction.on_commit(wake_sending)
    return _lock(subscription)


@transaction.atomic
def close_circuit(subscription: Subscription) -> None:
    """Its endpoint works: end its rest, and send what waited for it. Of one that does not rest it changes nothing."""
    if _rows(subscription).filter(circuit_open_until__isnull=False).update(**CLEAN_RECORD):
        transaction.on_commit(wake_sending)


def _hasten_retries(subscription: Subscription) -> None:
    """What failed before waits for a time that may be a day ahead: whoever resumes has repaired the endpoint."""
    retries = Delivery.objects.for_organization(subscription.organization_id).filter(
        subscription=subscription, status=DeliveryStatus.RETRYING, lease_id=None
    )
    oldest = retries.select_for_update(skip_locked=True).order_by("pk")[:MAX_HASTENED]
    retries.filter(pk__in=list(oldest.values_list("pk", flat=True))).update(next_attempt_at=Now())


@transaction.atomic
def rotate_secret(*, subscription: Subscription, overlap: timedelta, actor: Actor) -> WebhookSecret:
    """A new secret, at once; the previous one signs too during `overlap`. Raises Problem 409 for an inbox."""
    require_webhook(subscription)
    locked = _lock(subscription)
    secret = generate_secret()
    _rows(locked).update(
        secret=encrypt_secret(secret),
        previous_secret=locked.secret if overlap else "",
        previous_secret_until=Now() + Value(overlap) if overlap else None,
        changed_at=Now(),
    )
    _record("secret_rotated", locked, actor, {"overlap_seconds": int(overlap.total_seconds())})
    locked.refresh_from_db()
    return WebhookSecret(secret=secret, previous_until=locked.previous_secret_until)


@transaction.atomic
def show_secret(*, subscription: Subscription, actor: Actor, now: datetime) -> WebhookSecret:
    """The secret, with an entry in the audit log that it was shown. Raises Problem 409 for an inbox."""
    require_webhook(subscription)
    _record("secret_shown", subscription, actor)
    until = subscription.previous_secret_until
    return WebhookSecret(
        secret=decrypt_secret(subscription.secret), previous_until=until if until and until > now else None
    )


def require_webhook(subscription: Subscription) -> None:
    """Raises Problem 409 for an inbox, to which nothing is sent."""
    if subscription.kind != SubscriptionKind.WEBHOOK:
        raise Problem("wrong_state", "This subscription is an inbox. Only a webhook has a secret and can be tested.")


def _rows(subscription: Subscription) -> SubscriptionQuerySet:
    """The subscription, unless it was deleted meanwhile."""
    return Subscription.objects.for_organization(subscription.organization_id).not_deleted().filter(pk=subscription.pk)


def _lock(subscription: Subscription) -> Subscription:
    """The row as it is now, held until the end of the transaction; 404 when it has just been deleted."""
    rows = _rows(subscription).select_related("organization")
    locked = rows.select_for_update(of=("self",), no_key=True).first()
    if locked is None:
        raise Problem("not_found")
    return locked


def _current(subscription: Subscription, name: str) -> Any:
    value = getattr(subscription, name)
    return open_readable(value) if name == "headers" else value


def _stored(fields: Mapping[str, Any]) -> dict[str, Any]:
    """As the row holds them."""
    return {name: seal_headers(value) if name == "headers" else value for name, value in fields.items()}


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


def _record(what: str, subscription: Subscription, actor: Actor, changes: dict[str, Any] | None = None) -> None:
    record(
        actor=actor,
        action=f"subscription.{what}",
        target=subscription,
        organization=subscription.organization,
        changes=changes,
    )


def _summary(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """For the audit log: old and new values, or that there was a change."""
    return {name: "changed" if name in _NOT_FOR_THE_LOG else [before.get(name), value] for name, value in after.items()}


# --- Fields --------------------------------------------------------------------------------------------------


def _checked_fields(kind: SubscriptionKind, changes: SubscriptionChanges) -> dict[str, Any]:
    """The columns to set. Raises Problem 422 for the first field that a subscription of this kind cannot have so."""
    given = {name: value for name, value in vars(changes).items() if value is not UNSET}
    for owner in RULES.values():
        for name in owner.own_fields:
            if owner.name != kind and name in given:
                raise invalid(f"/{name}", "wrong_kind", f"Only a subscription of the kind {owner.name} has this.")
    if "name" in given:
        RULES[kind].check_name(given["name"])
    return {name: _CHECKS[name](value) for name, value in given.items()}


def _checked_url(url: str) -> str:
    # A name server may take seconds.
    give_back()
    try:
        check_destination(url, NetworkPolicy.from_settings())
    except UnsafeUrl as error:
        raise invalid("/url", "unsafe_url", error.reason) from error
    return url


def _checked_patterns(patterns: Sequence[str]) -> list[str]:
    return list(check_patterns(patterns))


def _checked_filter(value: Any) -> Any:
    if value is not None:
        compile_filter(value)
    return value


def _text_of(pointer: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if "\x00" in text:
            raise invalid(pointer, "nul_character", "NUL characters cannot be stored.")
        return text

    return check


def _as_it_is(value: Any) -> Any:
    return value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": _text_of("/name"),
    "description": _text_of("/description"),
    "event_types": _checked_patterns,
    "filter": _checked_filter,
    "url": _checked_url,
    "headers": check_headers,
    "max_leases": _as_it_is,
}
