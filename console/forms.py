"""What the console's forms share: fields that PostgreSQL can hold, and an operation's Problem shown at its field."""

from datetime import UTC
from typing import Any

from django import forms

from core.field_errors import steps_of
from core.problems import Problem

# More than anything that is given so may have.
MAX_LINES = 1_000


class LinesField(forms.CharField):
    """One value a line, without the empty ones."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> Any:
        lines = [line.strip() for line in (super().to_python(value) or "").splitlines() if line.strip()]
        if len(lines) > MAX_LINES:
            raise forms.ValidationError(f"At most {MAX_LINES} lines.")
        return lines

    def validate(self, value: Any) -> None:
        if self.required and not value:
            raise forms.ValidationError(self.error_messages["required"], code="required")

    def run_validators(self, value: Any) -> None:
        for line in value:
            super().run_validators(line)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value


class _MomentInput(forms.DateTimeInput):
    """In UTC on the server; static/console.js shows it in the person's zone, says so, and sends it back with `Z`."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(attrs={"step": "1", "data-utc": ""})

    def format_value(self, value: Any) -> str | None:
        """Also of what was typed, as such a field takes no offset."""
        if isinstance(value, str):
            return value.removesuffix("Z")
        if value and value.tzinfo:
            value = value.astimezone(UTC)
        return value.strftime("%Y-%m-%dT%H:%M:%S") if value else None


class MomentField(forms.DateTimeField):
    """A time, which is in UTC unless it says otherwise. Its label is followed by the zone."""

    is_moment = True

    def __init__(self, **values: Any) -> None:
        super().__init__(widget=_MomentInput(), **values)

    def clean(self, value: Any) -> Any:
        moment = super().clean(value)
        return moment and moment.astimezone(UTC)


class WaitsField(forms.CharField):
    """Whole numbers of seconds, separated by spaces or commas; `none` for no wait at all. None when it is empty."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value).replace(",", " ")
        if not text.strip():
            return None
        if text.strip().lower() == "none":
            return []
        try:
            return [int(each) for each in text.split()]
        except ValueError as error:
            raise forms.ValidationError("Whole numbers of seconds, such as: 5 60 3600") from error

    def prepare_value(self, value: Any) -> Any:
        return (" ".join(map(str, value)) or "none") if isinstance(value, list | tuple) else value


class TextField(forms.CharField):
    """Text of several lines. Browsers end each as mails do; stored is what the API would store."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> Any:
        return (super().to_python(value) or "").replace("\r\n", "\n")


def show_problem(form: forms.Form, problem: Problem) -> None:
    """Put each error at the field that its pointer begins with; what is about no field is about the form."""
    if not problem.errors:
        form.add_error(None, str(problem.detail))
    for error in problem.errors:
        name, _, place = error.pointer.strip("/").partition("/")
        if f"{name}_{place}" in form.fields:  # a member with a field of its own
            name, place = f"{name}_{place}", ""
        text = f"{_place_of(name, place)}{error.detail}"
        form.add_error(name if name in form.fields else None, text)


def _place_of(name: str, place: str) -> str:
    """`/event_types/2` → `Line 3: `; `/filter/data.amount/gte` → `data.amount, gte: `."""
    if not place:
        return ""
    if name == "event_types" and place.isdigit():
        return f"Line {int(place) + 1}: "
    return ", ".join(steps_of("/" + place)) + ": "
