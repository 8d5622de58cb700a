"""The form of a portal's looks, for the console and the admin."""

from typing import Any

from django import forms

from console.forms import LinesField
from portal.models import PortalAppearance
from portal.settings.rules import MAX_ORIGINS, check_origin

FIELDS = ("name", "logo_url", "accent", "accent_dark", "frame_ancestors")


class AppearanceForm(forms.ModelForm):  # type: ignore[type-arg]
    frame_ancestors = LinesField(
        required=False,
        max_length=255,
        label="Embedded by",
        validators=[check_origin],
        help_text=PortalAppearance._meta.get_field("frame_ancestors").help_text,
        widget=forms.Textarea(attrs={"rows": 3, "class": "code", "spellcheck": "false"}),
    )

    class Meta:
        model = PortalAppearance
        fields = FIELDS

    def clean_frame_ancestors(self) -> Any:
        origins = list(dict.fromkeys(self.cleaned_data["frame_ancestors"]))
        if len(origins) > MAX_ORIGINS:
            raise forms.ValidationError(f"At most {MAX_ORIGINS} lines.")
        return origins

    def clean_name(self) -> str:
        return " ".join(self.cleaned_data["name"].split())
