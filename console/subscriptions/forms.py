"""The forms of subscriptions. They read texts; what a subscription may have, the operations decide."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
from django import forms
from django.http import QueryDict
from msgspec import UNSET

from console.event_types.forms import TypeNameField
from console.forms import LinesField, MomentField, TextField, WaitsField
from console.subscriptions.auth_fields import PARTS, auth_fields, auth_initial, complete, read_auth
from core.decoding import parse
from core.field_errors import cut
from core.problems import Problem
from delivery.endpoints.masking import restore_masked
from delivery.endpoints.option_rules import IN_FLIGHT, MAX_TAG_LENGTH, PER_SECOND, TIMEOUT_SECONDS
from delivery.endpoints.sealed_headers import show_headers
from delivery.kinds import RULES
from delivery.matching.event_view import MAX_PATH_LENGTH
from delivery.matching.matching import MAX_PATTERNS
from delivery.models import OnDeadLetter, Signature, Subscription, SubscriptionKind
from delivery.operations import ReplayRequest, SubscriptionChanges
from ingestion.formats.decoding import check_jsonb

_MAX_FILTER = 256 * 1024
_OVERLAPS = [("0", "At once"), ("3600", "In an hour"), ("86400", "In a day"), ("604800", "In a week")]


class JSONTextField(forms.CharField):
    """JSON as people type it; the cleaned value is the text."""

    widget = forms.Textarea

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if text:
            read_json(text)
        return text


class SubscriptionForm(forms.Form):
    """Either kind: fields that the kind or the inbox `default` does not have are left out.

    `parts`: the fields that are for a column together, by its name.
    """

    parts = {"auth": PARTS}

    url = forms.CharField(
        max_length=2048,
        label="URL",
        help_text="Where to send: a public https address.",
        widget=forms.URLInput(attrs={"placeholder": "https://example.com/webhooks", "autocomplete": "off"}),
    )
    name = forms.CharField(max_length=100)
    description = TextField(max_length=2000, required=False, widget=forms.Textarea(attrs={"rows": 2}))
    event_types = LinesField(
        label="Event types",
        initial=["*"],
        max_length=256,
        help_text="One per line. invoice.* matches every type that starts with invoice., * matches all.",
        widget=forms.Textarea(attrs={"rows": 3, "class": "code", "spellcheck": "false"}),
        error_messages={"required": "Name at least one; * matches every event."},
    )
    filter = JSONTextField(
        required=False,
        max_length=_MAX_FILTER,
        help_text='Only events that match, as JSON: {"data.amount": {"gte": 1000}, "data.currency": "EUR"}',
        widget=forms.Textarea(attrs={"rows": 4, "class": "code", "spellcheck": "false"}),
    )
    headers = LinesField(
        required=False,
        max_length=8192,
        help_text="Sent with every webhook, one per line: Authorization: Bearer … A masked value is kept, unless"
        " the URL changes to another host: then enter it again.",
        widget=forms.Textarea(attrs={"rows": 2, "class": "code", "spellcheck": "false", "autocomplete": "off"}),
    )
    tags = LinesField(
        required=False,
        max_length=MAX_TAG_LENGTH,
        help_text="Labels of your own, one per line, such as the customer it belongs to.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    order_by = forms.CharField(
        required=False,
        max_length=MAX_PATH_LENGTH,
        label="In order by",
        help_text="subject, source, type or data.<path>: events with the same value are sent one after another, in"
        " the order in which they were accepted. Empty: no order.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    on_dead_letter = forms.ChoiceField(
        required=False,
        choices=[("", OnDeadLetter.SKIP.label), (OnDeadLetter.HOLD.value, OnDeadLetter.HOLD.label)],
        label="Behind a dead letter",
        help_text="With an order: what happens to later events with the same value.",
    )
    timeout_seconds = forms.FloatField(
        required=False,
        min_value=TIMEOUT_SECONDS[0],
        max_value=TIMEOUT_SECONDS[1],
        label="Time-out in seconds",
        help_text="How long the endpoint has to answer. Empty: the platform's setting.",
    )
    retry_schedule = WaitsField(
        required=False,
        max_length=500,
        label="Retries",
        help_text="The wait before each retry in seconds, such as: 5 60 3600. “none” for no retry, empty for the"
        " platform’s schedule.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    rate_limit = forms.FloatField(
        required=False,
        min_value=PER_SECOND[0],
        max_value=PER_SECOND[1],
        label="Requests per second",
        help_text="At most, from all senders together; what exceeds it is held. 0.1 is one in ten seconds.",
    )
    max_in_flight = forms.IntegerField(
        required=False,
        min_value=IN_FLIGHT[0],
        max_value=IN_FLIGHT[1],
        label="Requests at once",
        help_text="At most, from all senders together.",
    )
    signature = forms.ChoiceField(
        required=False,
        choices=[("", "As the platform does: v1"), *Signature.choices],
        help_text="v1a is verified with a public key, which need not be kept secret. After a change, the previous"
        " secret also signs for a day.",
    )
    max_leases = forms.IntegerField(
        min_value=1,
        max_value=1000,
        initial=20,
        label="Leases",
        help_text="After this many leases without an ack, an event becomes a dead letter.",
    )

    def __init__(
        self, given: QueryDict | None, *, kind: SubscriptionKind, subscription: Subscription | None = None
    ) -> None:
        super().__init__(given, initial=_initial(subscription) if subscription else None)
        rules = RULES[kind]
        if "auth" in rules.own_fields:
            stored = subscription.auth if subscription else None
            self.fields |= auth_fields(stored, chosen=None if given is None else given.get("auth_type", ""))
        left_out = {name for other in RULES.values() for name in other.own_fields}.difference(rules.own_fields)
        if subscription is not None and subscription.is_default:
            left_out |= {"name", "event_types", "filter"}
        for name in left_out - {"auth"}:
            del self.fields[name]
        if "name" in self.fields:
            self.fields["name"].required = rules.name_is_required
            self.fields["name"].help_text = rules.name_help

    def clean_headers(self) -> dict[str, str]:
        """`Name: value` lines."""
        found: dict[str, str] = {}
        seen: set[str] = set()
        for number, line in enumerate(self.cleaned_data["headers"], 1):
            name, colon, value = line.partition(":")
            if not colon or not name.strip():
                raise forms.ValidationError(f"Line {number}: a header is Name: value.")
            if name.strip().lower() in seen:
                raise forms.ValidationError(f"Line {number}: {cut(name.strip())} is given twice.")
            seen.add(name.strip().lower())
            found[name.strip()] = value.strip()
        return found

    def clean_event_types(self) -> list[str]:
        types: list[str] = self.cleaned_data["event_types"]
        if len(types) > MAX_PATTERNS:
            raise forms.ValidationError(f"At most {MAX_PATTERNS} lines.")
        return types

    def clean(self) -> dict[str, Any]:
        # It stays as it is for a page from before these fields, and where one of them could not be read.
        if "auth_type" in self.data:
            with suppress(KeyError):
                self.cleaned_data["auth"] = read_auth(self.cleaned_data)
        return self.cleaned_data

    def changes(self) -> SubscriptionChanges:
        """What to set, by the fields that this form has and could read."""
        wanted = {name: value for name, value in self.cleaned_data.items() if name not in PARTS}
        for name in ("tags", "order_by", "on_dead_letter", "signature"):
            if name in wanted:
                wanted[name] = wanted[name] or None
        if "filter" in wanted:
            wanted["filter"] = parse(wanted["filter"]) if wanted["filter"] else None
        return SubscriptionChanges(**wanted)

    def wanted(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The fields as changes() would set them, beside these stored ones."""
        wanted = {name: value for name, value in vars(self.changes()).items() if value is not UNSET}
        if "headers" in wanted:
            # Masks of what is not there any more stay as they are, and so are a change.
            with suppress(Problem):
                wanted["headers"] = restore_masked(wanted["headers"], stored["headers"])
        if "auth" in wanted:
            wanted["auth"] = complete(wanted["auth"], stored["auth"])
        return wanted


class SecretForm(forms.Form):
    """How long the old secret signs too."""

    overlap = forms.TypedChoiceField(
        choices=_OVERLAPS,
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        initial="86400",
        label="The old secret expires",
    )


class SendTestForm(forms.Form):
    """The event to send."""

    type = TypeNameField(label="Event type", initial="webhook.test")
    payload = JSONTextField(
        label="Data",
        initial='{"test": true}',
        max_length=_MAX_FILTER,
        widget=forms.Textarea(attrs={"rows": 6, "class": "code", "spellcheck": "false"}),
    )


class ReplayForm(forms.Form):
    """Which old events."""

    received_after = MomentField(label="Received from")
    received_before = MomentField(label="Received before")
    event_types = LinesField(
        label="Event types",
        initial=["*"],
        max_length=256,
        help_text="One per line. The subscription's own types and filter apply too.",
        widget=forms.Textarea(attrs={"rows": 2, "class": "code", "spellcheck": "false"}),
    )
    only_undelivered = forms.BooleanField(
        required=False, label="Only events that were never delivered to this subscription"
    )

    def criteria(self) -> ReplayRequest:
        data = self.cleaned_data
        return ReplayRequest(
            received_after=data["received_after"],
            received_before=data["received_before"],
            event_types=data["event_types"],
            only_undelivered=data["only_undelivered"],
        )


def read_json(text: str) -> Any:
    """The value; a ValidationError says in which line the text ends to be JSON, or why jsonb cannot hold it."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
        check_jsonb(text.encode())
        value = parse(text)
    except msgspec.DecodeError as error:
        raise forms.ValidationError(f"This is not JSON: {what_is_wrong(text) or error}.") from error
    except (RecursionError, UnicodeEncodeError) as error:
        raise forms.ValidationError("This JSON cannot be stored.") from error
    except Problem as problem:
        details = [error.detail for error in problem.errors] or [str(problem.detail)]
        raise forms.ValidationError(details) from problem
    return value


def what_is_wrong(text: str) -> str:
    """Why the text is no JSON, with line and column; empty when it is."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"{error.msg} in line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        pass
    return ""


def _initial(subscription: Subscription) -> dict[str, Any]:
    wanted = subscription.filter
    return {
        "url": subscription.url,
        "name": subscription.name,
        "description": subscription.description,
        "event_types": subscription.event_types,
        "filter": json.dumps(wanted, indent=2, ensure_ascii=False) if wanted else "",
        "headers": [f"{name}: {value}" for name, value in show_headers(subscription.headers).items()],
        "tags": subscription.tags or [],
        "order_by": subscription.order_by,
        "on_dead_letter": subscription.on_dead_letter if subscription.holds_keys else "",
        "timeout_seconds": subscription.timeout_seconds,
        "retry_schedule": subscription.retry_schedule,
        "rate_limit": subscription.rate_limit,
        "max_in_flight": subscription.max_in_flight,
        "signature": subscription.signature,
        "max_leases": subscription.max_leases,
        **auth_initial(subscription.auth),
    }
