"""The fields of a subscription that can be set: how each is checked, stored, read again and logged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from msgspec import UNSET, UnsetType

from core.field_errors import FieldError
from core.problems import Problem, invalid
from core.times import format_time
from delivery.endpoints.auth_rules import MTLS, OAUTH2, SECRETS, check_certificate, check_oauth2, complete_auth
from delivery.endpoints.header_rules import check_headers
from delivery.endpoints.option_rules import check_retry_schedule, check_tags
from delivery.endpoints.sealed_auth import open_readable_auth, seal_auth
from delivery.endpoints.sealed_headers import open_readable, seal_headers
from delivery.kinds import RULES
from delivery.matching.filters import compile_filter
from delivery.matching.matching import check_patterns
from delivery.models import Subscription, SubscriptionKind
from delivery.ordering.keys import compile_order
from delivery.webhooks.guard import NetworkPolicy, UnsafeUrl, check_destination

# These may hold tokens or be long, and are shown elsewhere: the audit log only says that they changed.
_NOT_FOR_THE_LOG = ("url", "headers", "filter", "auth")


@dataclass(frozen=True, kw_only=True)
class SubscriptionChanges:
    """What to set; UNSET leaves a field as it is, or as it is by default. None clears an option."""

    name: str | UnsetType | None = UNSET
    description: str | UnsetType = UNSET
    event_types: Sequence[str] | UnsetType = UNSET
    filter: Mapping[str, Any] | UnsetType | None = UNSET
    url: str | UnsetType = UNSET
    headers: Mapping[str, str] | UnsetType = UNSET
    tags: Sequence[str] | UnsetType | None = UNSET
    order_by: str | UnsetType | None = UNSET
    on_dead_letter: str | UnsetType | None = UNSET
    timeout_seconds: float | UnsetType | None = UNSET
    retry_schedule: Sequence[int] | UnsetType | None = UNSET
    rate_limit: float | UnsetType | None = UNSET
    max_in_flight: int | UnsetType | None = UNSET
    signature: str | UnsetType | None = UNSET
    auth: Mapping[str, Any] | UnsetType | None = UNSET
    max_leases: int | UnsetType = UNSET


def changeable_fields(subscription: Subscription) -> dict[str, Any]:
    """What update_subscription() can set, as it is; rest.versions makes the version from it."""
    others = {name for rules in RULES.values() for name in rules.own_fields} - set(subscription.rules.own_fields)
    names = [name for name in SubscriptionChanges.__dataclass_fields__ if name not in others]
    return {name: current_value(subscription, name) for name in names}


def current_value(subscription: Subscription, name: str) -> Any:
    value = getattr(subscription, name)
    opened = {"headers": open_readable, "auth": open_readable_auth}.get(name)
    return opened(value) if opened else value


def stored_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """As the row holds them."""
    stored = dict(fields)
    if "headers" in stored:
        stored["headers"] = seal_headers(stored["headers"])
    if "auth" in stored:
        auth = stored["auth"]
        ends = auth and auth.get("expires_at")
        stored["auth"] = auth and seal_auth(auth)
        stored |= {"auth_expires_at": datetime.fromisoformat(ends) if ends else None, "auth_end_told_at": None}
    if stored.get("order_by") is not None:
        stored["has_queues"] = True
    return stored


def completed_auth(
    given: Mapping[str, Any] | None, stored: Mapping[str, Any] | None, *, is_same_endpoint: bool
) -> dict[str, Any] | None:
    """What is stored for it: secrets that were left out are kept. Raises Problem 422."""
    if given is None:
        return None
    auth = complete_auth(given, stored, is_same_endpoint=is_same_endpoint)
    if auth["type"] == MTLS:
        auth["expires_at"] = format_time(check_certificate(auth, now=timezone.now()))
    return auth


def summary_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """For the audit log: old and new values, or that there was a change."""
    return {name: "changed" if name in _NOT_FOR_THE_LOG else [before.get(name), value] for name, value in after.items()}


def checked_fields(kind: SubscriptionKind, changes: SubscriptionChanges) -> dict[str, Any]:
    """The columns to set. Raises Problem 422 for the fields that a subscription of this kind cannot have so."""
    given = {name: value for name, value in vars(changes).items() if value is not UNSET}
    for owner in RULES.values():
        for name in owner.own_fields:
            if owner.name != kind and name in given:
                raise invalid(f"/{name}", "wrong_kind", f"Only a subscription of the kind {owner.name} has this.")
    if "name" in given:
        given["name"] = given["name"] or ""
    checked: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, value in given.items():
        try:
            if name == "name":
                RULES[kind].check_name(value)
            checked[name] = _CHECKS[name](value)
        except Problem as problem:
            if problem.problem_type.code != "validation_failed" or not problem.errors:
                raise
            errors += problem.errors
    if errors:
        raise Problem("validation_failed", errors=errors)
    return checked


def _checked_auth(auth: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What is wrong with it whatever is stored; the rest is seen by completed_auth()."""
    if auth is not None and auth["type"] == OAUTH2:
        errors = check_oauth2(auth)
        try:
            _checked_url(auth["token_url"], pointer="/auth/token_url")
        except Problem as problem:
            errors += problem.errors
        if errors:
            raise Problem("validation_failed", errors=errors)
    elif auth is not None and all(name in auth for name in SECRETS[MTLS]):
        check_certificate(auth, now=timezone.now())
    return auth


def _checked_url(url: str, *, pointer: str = "/url") -> str:
    try:
        check_destination(url, NetworkPolicy.from_settings())
    except UnsafeUrl as error:
        raise invalid(pointer, "unsafe_url", error.reason) from error
    return url


def _checked_patterns(patterns: Sequence[str]) -> list[str]:
    return list(check_patterns(patterns))


def _checked_filter(value: Any) -> Any:
    if value is not None:
        compile_filter(value)
    return value


def _checked_order(path: str | None) -> str | None:
    if path is not None:
        compile_order(path)
    return path


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
    "tags": check_tags,
    "order_by": _checked_order,
    "on_dead_letter": _as_it_is,
    "timeout_seconds": _as_it_is,
    "retry_schedule": check_retry_schedule,
    "rate_limit": _as_it_is,
    "max_in_flight": _as_it_is,
    "signature": _as_it_is,
    "auth": _checked_auth,
    "max_leases": _as_it_is,
}
