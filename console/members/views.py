"""Members and their roles; invitations."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.conflicts import is_conflict, opened_version
from console.forms import show_problem
from console.pages import READ, WRITE, organization_page
from console.paging import newest_page
from console.rendering import in_section
from console.shown_once import keep_secret, take_secret
from core.problems import Problem
from notifications.invitations import invitation_link, request_invitation_mail
from organizations.audit import actor_of
from organizations.models import Invitation, Membership, Role
from organizations.operations import (
    change_role,
    invite_member,
    open_invitations,
    remove_member,
    withdraw_invitation,
)

_MEANINGS = {
    Role.VIEWER: "sees everything but keys and the audit log",
    Role.MEMBER: "also retries, replays, exports, and manages subscriptions and event types",
    Role.ADMIN: "also manages keys and members, and sees the audit log",
    Role.OWNER: "also manages the owners",
}
# As many as can be invited in a day: expired ones that nobody accepts come on top, and only the newest are shown.
_MAX_INVITATIONS = 50


class InvitationForm(forms.Form):
    """Whom to ask."""

    email = forms.EmailField(max_length=254, label="Email address")
    role = forms.ChoiceField(widget=forms.RadioSelect, initial=Role.MEMBER.value)

    def __init__(self, *args: Any, place: OrganizationContext) -> None:
        super().__init__(*args)
        role = self.fields["role"]
        assert isinstance(role, forms.ChoiceField)  # noqa: S101 - for the type checker
        role.choices = [(value, f"{value.label}: {_MEANINGS[value]}") for value in assignable_roles(place)]


def assignable_roles(place: OrganizationContext) -> list[Role]:
    """Only owners make owners."""
    return [role for role in _MEANINGS if role is not Role.OWNER or place.may(Action.MANAGE_OWNERS)]


_render = in_section("members")


@organization_page(Action.SEE_MEMBERS)
def members(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """The members, the newest first, and whom one waits for."""
    return _list(request, place, InvitationForm(place=place))


@organization_page(Action.MANAGE_MEMBERS, methods=WRITE)
def invite(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """Mail a link, and show it this one time for whoever wants to pass it on otherwise."""
    form = InvitationForm(request.POST, place=place)
    if not form.is_valid():
        return _list(request, place, form)
    try:
        with transaction.atomic():
            invitation = invite_member(
                organization=place.organization,
                email=form.cleaned_data["email"],
                role=form.cleaned_data["role"],
                invited_by=place.user,
                actor=actor_of(request),
                now=timezone.now(),
            )
            request_invitation_mail(invitation)
    except Problem as problem:
        show_problem(form, problem)
        return _list(request, place, form)
    keep_secret(request, about=_about(place), secret=invitation_link(invitation))
    messages.success(request, f"{invitation.email} will get a mail with a link.")
    return _to_list(place)


@organization_page(Action.MANAGE_MEMBERS, methods=WRITE)
def withdraw(request: HttpRequest, place: OrganizationContext, invitation_id: UUID) -> HttpResponse:
    """The link works no longer. It can be sent anew, so nobody is asked first."""
    rows = Invitation.objects.for_organization(place.organization.pk).select_related("organization")
    invitation = get_object_or_404(rows, pk=invitation_id)
    if withdraw_invitation(invitation=invitation, actor=actor_of(request), now=timezone.now()):
        messages.success(request, f"The invitation of {invitation.email} was withdrawn.")
    else:
        messages.error(request, "The invitation had already been accepted or withdrawn.")
    return _to_list(place)


@organization_page(Action.MANAGE_MEMBERS, methods=WRITE)
def change(request: HttpRequest, place: OrganizationContext, membership_id: int) -> HttpResponse:
    """Another role."""
    membership = _membership_or_404(place, membership_id)
    role = request.POST.get("role", "")
    if role not in Role.values:
        raise Http404
    try:
        expected = opened_version(request)
        change_role(membership=membership, role=role, actor=actor_of(request), expected=expected, **_rules(place))
    except Problem as problem:
        messages.error(request, _changed_meanwhile(membership, role) if is_conflict(problem) else str(problem.detail))
    else:
        messages.success(request, f"{membership.user.get_username()} is now {role}.")
    return _to_list(place)


@organization_page(Action.MANAGE_MEMBERS, methods=READ + WRITE)
def remove(request: HttpRequest, place: OrganizationContext, membership_id: int) -> HttpResponse:
    """End a membership; asks first."""
    membership = _membership_or_404(place, membership_id)
    if request.method != "POST":
        return _render(request, place, "console/members/remove.html", {"membership": membership})
    try:
        remove_member(membership=membership, actor=actor_of(request), **_rules(place))
    except Problem as problem:
        messages.error(request, str(problem.detail))
        return _to_list(place)
    messages.success(request, f"{membership.user.get_username()} is no longer a member of {place.organization.name}.")
    return redirect("console:home") if membership.user_id == place.user.pk else _to_list(place)


def _list(request: HttpRequest, place: OrganizationContext, form: InvitationForm) -> HttpResponse:
    rows = Membership.objects.for_organization(place.organization.pk).select_related("user")
    waiting = open_invitations(place.organization).select_related("invited_by").order_by("-pk")
    may_manage = place.may(Action.MANAGE_MEMBERS)
    context = {
        "page": newest_page(rows, request),
        "invitations": list(waiting[:_MAX_INVITATIONS]) if may_manage else [],
        "form": form,
        "roles": assignable_roles(place),
        "now": timezone.now(),
        "secret": take_secret(request, about=_about(place)) if may_manage and not form.errors else None,
    }
    response = _render(request, place, "console/members/members.html", context)
    response["Cache-Control"] = "no-store"
    return response


def _changed_meanwhile(membership: Membership, role: str) -> str:
    membership.refresh_from_db()
    return (
        f"Somebody else has changed the role of {membership.user.get_username()} since you opened this page. It is "
        f"now {membership.role}, and was left as it is. If you still want {role}, set it again."
    )


def _rules(place: OrganizationContext) -> dict[str, bool]:
    """Of what people do; the platform's staff has fewer in the admin."""
    return {"may_change_owners": place.may(Action.MANAGE_OWNERS), "keeps_owner": True}


def _about(place: OrganizationContext) -> str:
    return f"invitation:{place.organization.pk}"


def _membership_or_404(place: OrganizationContext, membership_id: int) -> Membership:
    rows = Membership.objects.for_organization(place.organization.pk).select_related("user", "organization")
    return get_object_or_404(rows, pk=membership_id)


def _to_list(place: OrganizationContext) -> HttpResponse:
    return redirect("console:members", place.organization.slug)
