"""Erasures in the admin: superusers start them, the worker carries them out, the list shows how far they are."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from lifecycle.erasing.events import ErasureCriteria, InvalidCriteriaError, read_conditions, start_event_erasure
from lifecycle.erasing.organization import start_organization_erasure
from lifecycle.models import Erasure, ErasureKind
from organizations.audit import actor_of
from organizations.models import Organization
from organizations.read_only_admin import ReadOnlyAdmin


class ErasureForm(forms.ModelForm):  # type: ignore[type-arg]
    """What leaves. The organization's slug is typed rather than chosen, so that nobody erases a neighbour."""

    slug = forms.CharField(max_length=63, label="Organization", help_text="Its slug, typed.")
    where = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Of events: one condition a line, such as data.user.email=ann@example.com. All of them hold.",
    )
    type = forms.CharField(required=False, max_length=256, help_text="Of events: a type, or the start of types with *.")
    received_after = forms.SplitDateTimeField(required=False, widget=AdminSplitDateTime)
    received_before = forms.SplitDateTimeField(required=False, widget=AdminSplitDateTime)
    redact = forms.CharField(
        required=False, help_text="Paths, separated by commas: data.user.email, subject. Only these are emptied."
    )

    class Meta:
        model = Erasure
        fields = ("kind",)

    def clean_slug(self) -> Organization:
        organization = Organization.objects.filter(slug=self.cleaned_data["slug"]).first()
        if organization is None:
            raise forms.ValidationError("There is no organization with this slug.")
        return organization

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        kind = data.get("kind")
        # What a field refused is not in `data`.
        if kind in (ErasureKind.EVENTS, ErasureKind.REDACTION) and not self.errors:
            try:
                data["criteria"] = ErasureCriteria(
                    where=read_conditions([line for line in data["where"].splitlines() if line.strip()]),
                    type=data["type"],
                    received_after=data["received_after"],
                    received_before=data["received_before"],
                    redact=[path.strip() for path in data["redact"].split(",") if path.strip()],
                )
            except InvalidCriteriaError as error:
                raise forms.ValidationError(str(error)) from error
            if bool(data["criteria"].redact) != (kind == ErasureKind.REDACTION):
                raise forms.ValidationError("A redaction names the paths to redact; nothing else does.")
        return data


@admin.register(Erasure)
class ErasureAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "kind", "organization", "status", "looked_at", "removed_rows", "actor_label")
    # Not the criteria: while it runs, they hold the values that events are found by.
    fields = (*list_display, "finished_at", "failures")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Erasure]:
        # No foreign key: the organization may be what was erased.
        name = Organization.objects.filter(pk=OuterRef("organization_id")).values("name")
        erasures: QuerySet[Erasure] = super().get_queryset(request)
        return erasures.annotate(organization_name=Subquery(name))

    def organization(self, erasure: Erasure) -> str:
        return getattr(erasure, "organization_name", None) or str(erasure.organization_id)

    @admin.display(description="Removed")
    def removed_rows(self, erasure: Erasure) -> str:
        return ", ".join(f"{count:,} {what}" for what, count in erasure.removed.items())

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: Erasure | None = None) -> bool:
        return bool(request.user.is_superuser)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def get_fields(self, request: HttpRequest, obj: Erasure | None = None) -> tuple[str, ...]:
        if obj:
            return self.fields
        return ("kind", "slug", "where", "type", "received_after", "received_before", "redact")

    def get_form(self, request: HttpRequest, obj: Erasure | None = None, *args: Any, **kwargs: Any) -> Any:
        return super().get_form(request, obj, *args, **kwargs) if obj else ErasureForm

    def save_model(self, request: HttpRequest, obj: Erasure, form: Any, change: bool) -> None:  # noqa: FBT001
        """The worker takes it up within seconds."""
        organization, actor = form.cleaned_data["slug"], actor_of(request)
        if obj.kind == ErasureKind.ORGANIZATION:
            started = start_organization_erasure(organization=organization, actor=actor)
        else:
            started = start_event_erasure(
                organization=organization, criteria=form.cleaned_data["criteria"], actor=actor
            )
        obj.pk = started.pk
        obj.refresh_from_db()

    def log_addition(self, request: HttpRequest, obj: Erasure, message: Any) -> None:  # type: ignore[override]
        """The operations write the audit log; Django's own would quote the form."""
