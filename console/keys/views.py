"""API keys: issue one, replace one, revoke one."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from msgspec import UNSET, UnsetType

from console.access import Action, OrganizationContext
from console.forms import show_problem
from console.pages import READ, WRITE, organization_page
from console.paging import newest_page
from console.rendering import render_page
from console.shown_once import keep_secret, take_secret
from core.problems import Problem
from organizations.audit import actor_of
from organizations.keys.scopes import Scope
from organizations.models import ApiKey
from organizations.operations import issue_key, refuse_if_over, revoke_key, rotate_key
from organizations.queries import own_key

_SCOPES = [
    (Scope.EVENTS_WRITE.value, "events:write: send events"),
    (Scope.EVENTS_READ.value, "events:read: read events and their types"),
    (Scope.INBOX_CONSUME.value, "inbox:consume: consume events from inboxes"),
    (
        Scope.SUBSCRIPTIONS_MANAGE.value,
        "subscriptions:manage: manage subscriptions, deliveries, replays and event types",
    ),
    (Scope.KEYS_MANAGE.value, "keys:manage: create and revoke keys"),
]
_LIFETIMES = [("", "Never"), ("30", "In 30 days"), ("90", "In 90 days"), ("365", "In a year")]
_NEVER = "never"
_SUCCESSOR_LIFETIMES = [("", "When the old key would have expired"), (_NEVER, "Never"), *_LIFETIMES[1:]]
_OVERLAPS = [("0", "At once"), ("3600", "In an hour"), ("86400", "In a day"), ("604800", "In a week")]


class KeyForm(forms.Form):
    """A key to be made."""

    name = forms.CharField(max_length=100, help_text="What uses the key, and where.")
    scopes = forms.MultipleChoiceField(
        choices=_SCOPES,
        widget=forms.CheckboxSelectMultiple,
        label="Scopes",
        initial=[Scope.EVENTS_WRITE.value],
        error_messages={"required": "Choose at least one."},
    )
    days = forms.ChoiceField(choices=_LIFETIMES, required=False, label="Expires")


class RotationForm(forms.Form):
    """How long the old key goes on, and when the new one expires."""

    overlap = forms.ChoiceField(choices=_OVERLAPS, initial="86400", label="The old key expires")
    days = forms.ChoiceField(choices=_SUCCESSOR_LIFETIMES, required=False, label="The new key expires")

    def expires_at(self, now: datetime) -> datetime | UnsetType | None:
        """UNSET: when the old key would have."""
        days = self.cleaned_data["days"]
        return UNSET if days == "" else None if days == _NEVER else now + timedelta(days=int(days))


@organization_page(Action.SEE_KEYS)
def keys(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """The keys, newest first; after a form also the new key, this one time."""
    return _list(request, place, KeyForm())


@organization_page(Action.MANAGE_KEYS, methods=WRITE)
def issue(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """A new key."""
    form = KeyForm(request.POST)
    if not form.is_valid():
        return _list(request, place, form)
    days = form.cleaned_data["days"]
    try:
        issued = issue_key(
            organization=place.organization,
            name=form.cleaned_data["name"],
            scopes=form.cleaned_data["scopes"],
            expires_at=timezone.now() + timedelta(days=int(days)) if days else None,
            actor=actor_of(request),
        )
    except Problem as problem:
        show_problem(form, problem)
        return _list(request, place, form)
    keep_secret(request, about=_about(place), secret=issued.plaintext)
    messages.success(request, f"The key “{issued.key.name}” was created.")
    return _to_list(place)


@organization_page(Action.MANAGE_KEYS, methods=READ + WRITE)
def rotate(request: HttpRequest, place: OrganizationContext, key_id: UUID) -> HttpResponse:
    """A successor of the same name and scopes; asks how long the old one goes on, and the new one lives."""
    key = own_key(place.organization.pk, key_id)
    refuse_if_over(key, now=timezone.now())
    form = RotationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        issued = rotate_key(
            key=key,
            overlap=timedelta(seconds=int(form.cleaned_data["overlap"])),
            expires_at=form.expires_at(timezone.now()),
            actor=actor_of(request),
        )
        keep_secret(request, about=_about(place), secret=issued.plaintext)
        messages.success(request, f"“{key.name}” was rotated.")
        return _to_list(place)
    return _page(request, place, "console/keys/rotate.html", {"key": key, "form": form})


@organization_page(Action.MANAGE_KEYS, methods=READ + WRITE)
def revoke(request: HttpRequest, place: OrganizationContext, key_id: UUID) -> HttpResponse:
    """Refuse the key from now on; asks first."""
    key = own_key(place.organization.pk, key_id)
    if request.method != "POST":
        return _page(request, place, "console/keys/revoke.html", {"key": key})
    if revoke_key(key=key, actor=actor_of(request)):
        messages.success(request, f"“{key.name}” was revoked.")
    else:
        messages.error(request, f"“{key.name}” had already been revoked.")
    return _to_list(place)


def _list(request: HttpRequest, place: OrganizationContext, form: KeyForm) -> HttpResponse:
    page = newest_page(ApiKey.objects.for_organization(place.organization.pk), request)
    context = {
        "page": page,
        "form": form,
        "now": timezone.now(),
        "secret": take_secret(request, about=_about(place)) if not form.errors else None,
    }
    return _page(request, place, "console/keys/keys.html", context)


def _page(request: HttpRequest, place: OrganizationContext, template: str, context: dict[str, Any]) -> HttpResponse:
    """Never kept by a browser: a page may hold a key."""
    response = render_page(request, template, context, place=place, section="keys")
    response["Cache-Control"] = "no-store"
    return response


def _about(place: OrganizationContext) -> str:
    return f"keys:{place.organization.pk}"


def _to_list(place: OrganizationContext) -> HttpResponse:
    return redirect("console:keys", place.organization.slug)
