"""The form of what a person is mailed: a choice for each kind of notice in each organization, and a time zone."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings

from notifications.models import NoticeKind, Timing
from notifications.preferences import time_zones
from organizations.models import Membership, Organization


class NoticesForm(forms.Form):
    """What is not sent stays as it is."""

    time_zone = forms.ChoiceField(label="Time zone")

    def __init__(
        self,
        data: Any,
        *,
        memberships: list[Membership],
        timings: dict[UUID, dict[NoticeKind, Timing]],
        time_zone: str | None,
    ) -> None:
        initial: dict[str, Any] = {"time_zone": time_zone or "UTC"}
        super().__init__(data, initial=initial)
        self.organizations = [each.organization for each in memberships]
        # A zone that this system does not know any more stays chosen.
        zones = dict.fromkeys([*time_zones(), time_zone or "UTC"])
        zone = self.fields["time_zone"]
        assert isinstance(zone, forms.ChoiceField)  # noqa: S101 - it is declared above
        zone.choices = [(name, name.replace("_", " ")) for name in zones]
        zone.help_text = f"The daily mail is sent at {settings.NOTICE_DAILY_HOUR}:00 there, when there is something."
        if time_zone is None:
            # Nothing was chosen: static/console.js chooses the browser's.
            zone.widget.attrs["data-own-zone"] = ""
        for organization in self.organizations:
            for kind in NoticeKind:
                name = _field_name(organization, kind)
                self.fields[name] = forms.ChoiceField(required=False, label=str(kind.label), choices=Timing.choices)
                initial[name] = timings[organization.pk][kind]

    def groups(self) -> Iterator[tuple[Organization, list[forms.BoundField]]]:
        """For the page."""
        for organization in self.organizations:
            yield organization, [self[_field_name(organization, kind)] for kind in NoticeKind]

    def chosen(self) -> dict[UUID, dict[NoticeKind, Timing]]:
        return {
            organization.pk: {
                kind: Timing(value)
                for kind in NoticeKind
                if (value := self.cleaned_data[_field_name(organization, kind)])
            }
            for organization in self.organizations
        }


def _field_name(organization: Organization, kind: NoticeKind) -> str:
    return f"{organization.slug}.{kind.name.lower()}"
