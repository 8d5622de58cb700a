"""Entries of the audit log in words: what was done, and what was there before and after."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from console.templatetags.console import duration
from organizations.models import AuditEntry

# By action; others are told by the action's own words.
_DONE = {
    "api_key.issued": "issued the API key",
    "api_key.looked_up": "looked up, as leaked, the API key",
    "api_key.revoked": "revoked the API key",
    "api_key.rotated": "rotated the API key",
    "dead_letter_retry.cancelled": "cancelled the retry of dead letters",
    "delivery.retried": "retried the delivery",
    "delivery.skipped": "skipped the delivery",
    "event.cancelled": "cancelled the scheduled event",
    "event.sent": "sent the event",
    "event.requeued": "had processed again the event",
    "event_type.created": "described the event type",
    "event_type.deleted": "deleted the description of the event type",
    "event_type.updated": "changed the event type",
    "events.erased": "erased events",
    "events.erasure_started": "began to erase events",
    "events.redacted": "redacted events",
    "export.cancelled": "cancelled the export",
    "export.created": "started the export",
    "export.deleted": "deleted the file of the export",
    "export.downloaded": "downloaded the export",
    "invitation.accepted": "accepted the invitation of",
    "invitation.created": "invited",
    "invitation.withdrawn": "withdrew the invitation of",
    "member.added": "added the member",
    "member.removed": "removed the member",
    "member.role_changed": "changed the role of",
    "organization.created": "created the organization",
    "organization.resumed": "resumed the organization",
    "organization.slack_changed": "changed the Slack channel of",
    "organization.suspended": "suspended the organization",
    "organization.updated": "changed the organization",
    "portal.updated": "changed the looks of the portal of",
    "portal_link.all_ended": "ended all portal links and sessions of",
    "portal_link.created": "made the",
    "portal_link.opened": "opened the",
    "replay.cancelled": "cancelled the",
    "replay.created": "started the",
    "subscription.created": "created the",
    "subscription.dead_letters_retried": "retried the dead letters of the",
    "subscription.deleted": "deleted the",
    "subscription.deliveries_expired": "gave up deliveries that were too old of the",
    "subscription.paused": "paused the",
    "subscription.resumed": "resumed the",
    "subscription.secret_rotated": "rotated the secret of the",
    "subscription.secret_shown": "was shown the secret of the",
    "subscription.tested": "sent a test to the",
    "subscription.updated": "changed the",
}
_NAMES = {
    "accent": "colour on light pages",
    "accent_dark": "colour on dark pages",
    "auth": "authorization",
    "events_per_minute_override": "events per minute",
    "expires_at": "expires",
    "expires_in": "ends after",
    "frame_ancestors": "embedded by",
    "logo_url": "logo",
    "overlap_seconds": "the old one ends after",
    "rate_limit": "most in a second",
    "max_in_flight": "most at once",
    "retention_days_override": "retention in days",
    "schema_bytes": "length of the schema",
    "subscriptions_override": "limit of subscriptions",
    "timeout_seconds": "time-out",
    "url": "URL",
}
_SECONDS = {"expires_in", "overlap_seconds", "timeout_seconds"}
# What something new is given; elsewhere two values are the old and the new one.
_NEW = (".created", ".issued")
_LONGEST = 120
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)")


def done(entry: AuditEntry) -> str:
    """`paused the`: the name of what it was done to follows."""
    return _DONE.get(entry.action, entry.action.replace("_", " ").replace(".", " "))


def changes_of(entry: AuditEntry) -> list[tuple[str, str, str | None]]:
    """`(name, before, after)` of each field; `after` is None where only one thing is known."""
    found: list[tuple[str, str, str | None]] = []
    for name, value in entry.changes.items():
        before, after = _before_and_after(entry.action, value)
        if after is None:
            text = _in_words(name, before)
            # Of something new what was left empty says nothing.
            if text != "none" or not entry.action.endswith(_NEW):
                found.append((_name(name), text, None))
        else:
            found.append((_name(name), _in_words(name, before), _in_words(name, after[0])))
    return found


def _before_and_after(action: str, value: Any) -> tuple[Any, Sequence[Any] | None]:
    is_pair = isinstance(value, list) and len(value) == 2
    if action in ("subscription.created", "event_type.created") and is_pair:
        return value[1], None
    if is_pair and not action.endswith(_NEW):
        return value[0], value[1:]
    return value, None


def _name(field: str) -> str:
    return _NAMES.get(field, field.replace("_", " "))


def _in_words(field: str, value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if field in _SECONDS and isinstance(value, int | float):
        return "at once" if field == "overlap_seconds" and not value else duration(value)
    if isinstance(value, list):
        text = ", ".join(_in_words("", each) for each in value)
    elif isinstance(value, dict):
        text = ", ".join(f"{_name(name)} {_in_words(name, each)}" for name, each in value.items())
    else:
        text = _moment(str(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _moment(text: str) -> str:
    if not _TIME.fullmatch(text):
        return text
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return text
