"""What the forms about events and their types share."""

from typing import Any

from django import forms


class TypeNameField(forms.RegexField):
    def __init__(self, **values: Any) -> None:
        refusal = {"invalid": "1 to 255 of A-Za-z0-9._-/"}
        super().__init__(r"\A[A-Za-z0-9._\-/]{1,255}\Z", error_messages=refusal, **values)
