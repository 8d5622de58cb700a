"""The form of an event. It says what is wrong with each field; the intake decides on all of them."""

from collections.abc import Callable
from typing import Any

import msgspec
from django import forms

from console.event_types.forms import TypeNameField
from console.forms import MomentField
from console.subscriptions.forms import what_is_wrong
from core.problems import Problem
from ingestion.fields import MAX_REFERENCE
from ingestion.formats.decoding import check_data, checked_key, checked_source
from ingestion.operations.sending import EventToSend

_SHORT = {"autocomplete": "off", "spellcheck": "false"}


class _EventDataField(forms.CharField):
    """JSON as an event can hold it; the cleaned value is the text."""

    widget = forms.Textarea

    def clean(self, value: Any) -> str:
        text: str = super().clean(value).replace("\r\n", "\n")
        try:
            msgspec.json.decode(text, type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError) as error:
            raise forms.ValidationError(f"This is not JSON: {what_is_wrong(text) or error}.") from error
        _raise_as_invalid(lambda: check_data(text.encode()))
        return text


class SendForm(forms.Form):
    """What is not given is left out of the event."""

    type = TypeNameField(
        label="Event type",
        help_text="As in invoice.paid. Types that were seen before are suggested.",
        widget=forms.TextInput(attrs={"list": "known-types", "class": "code", **_SHORT}),
    )
    data = _EventDataField(  # type: ignore[assignment] # the metaclass takes it away
        help_text="Any JSON value, mostly an object: { … }",
        widget=forms.Textarea(attrs={"rows": 14, "class": "code", "spellcheck": "false"}),
    )
    subject = forms.CharField(
        required=False,
        max_length=MAX_REFERENCE,
        help_text="What the event is about, such as the number of an invoice.",
        widget=forms.TextInput(attrs=_SHORT),
    )
    source = forms.CharField(
        required=False,
        max_length=MAX_REFERENCE,
        help_text="Which system it comes from, such as /billing.",
        widget=forms.TextInput(attrs=_SHORT),
    )
    idempotency_key = forms.CharField(
        required=False,
        max_length=255,
        label="Idempotency key",
        help_text="Events with the same key are one event. This one was made up, so that a second click sends nothing.",
        widget=forms.TextInput(attrs={"class": "code", **_SHORT}),
    )
    deliver_at = MomentField(required=False, label="Deliver at", help_text="Leave it empty to deliver at once.")

    def clean_source(self) -> str:
        source: str = self.cleaned_data["source"]
        _raise_as_invalid(lambda: checked_source(source))
        return source

    def clean_idempotency_key(self) -> str:
        key: str = self.cleaned_data["idempotency_key"]
        _raise_as_invalid(lambda: checked_key("/idempotency_key", key))
        return key

    def wanted(self) -> EventToSend:
        """The event of a valid form."""
        return EventToSend(**self.cleaned_data)


def _raise_as_invalid(check: Callable[[], object]) -> None:
    try:
        check()
    except Problem as problem:
        details = [error.detail for error in problem.errors] or [str(problem.detail)]
        raise forms.ValidationError(details) from problem
