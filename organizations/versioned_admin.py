"""Forms of the admin that save nothing when somebody else has changed the object since they were opened.

The same as console.conflicts, for Django's own forms: the version goes into a hidden field, and a form that comes back
with another one is shown again, with what is there now and what was typed.
"""

from typing import Any, cast

from django import forms
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict

from organizations.read_only_admin import ModelAdmin
from rest.versions import changed_since, version_of


class _VersionedForm(forms.ModelForm):  # type: ignore[type-arg]
    """Beside a form of the admin. `initial` is what is there now, as the form was made for a row that is locked."""

    unversioned: tuple[str, ...] = ()

    def fields_now(self) -> dict[str, Any]:
        return {name: _plain(self.initial.get(name)) for name in self.fields if name not in self.unversioned}

    def clean(self) -> dict[str, Any]:
        found = super().clean()
        data: dict[str, Any] = self.cleaned_data if found is None else found
        fields, opened = self.fields_now(), self.data.get("version", "")
        if theirs := changed_since(opened, fields):
            typed = {name: _plain(data[name]) if name in data else value for name, value in fields.items()}
            mine = changed_since(opened, typed)
            self._tell(theirs)
            self._show_now([name for name in theirs if name not in mine])
        return data

    def _tell(self, theirs: list[str]) -> None:
        now = [f"{self[name].label} is now “{_shown(self.initial.get(name))}”" for name in theirs]
        self.add_error(
            None,
            f"Nothing was saved: somebody else has changed this since you opened it. {', '.join(now)}. The form shows "
            "what is there now and what you have typed: look at both, and save again.",
        )

    def _show_now(self, names: list[str]) -> None:
        """In place of what the form was opened with."""
        shown = cast(QueryDict, self.data).copy()
        for name in names:
            value = self.fields[name].prepare_value(self.get_initial_for_field(self.fields[name], name))
            if value is False:
                shown.pop(self.add_prefix(name), None)
            elif isinstance(value, list | tuple):
                shown.setlist(self.add_prefix(name), value)
            else:
                shown[self.add_prefix(name)] = "" if value is None else value
        self.data = shown


class VersionedAdmin(ModelAdmin):
    """Of objects that several people change. `unversioned` fields change by themselves, and are nobody's business."""

    change_form_template = "admin/versioned_form.html"
    unversioned: tuple[str, ...] = ()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
        form = super().get_form(request, obj, change=change, **kwargs)
        if obj is None:
            return form
        return type(form.__name__, (_VersionedForm, form), {"unversioned": self.unversioned})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Locked while a form is saved, so that nobody comes between the look at the version and the change."""
        found = super().get_object(request, object_id, from_field)
        if found is not None and request.method == "POST" and connection.in_atomic_block:
            rows: QuerySet[Any] = self.model._default_manager.select_for_update(no_key=True)
            found = rows.filter(pk=found.pk).first()
        return found

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        form = context["adminform"].form
        if isinstance(form, _VersionedForm):
            context["version"] = version_of(form.fields_now())
        return super().render_change_form(request, context, *args, **kwargs)


def _plain(value: Any) -> Any:
    """Objects by their keys, several in order."""
    if isinstance(value, Model):
        return value.pk
    if isinstance(value, QuerySet | list | tuple):
        return sorted(str(_plain(each)) for each in value)
    return value


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)
