"""What the link of an invitation leads to: one joins with the account that one has, or makes one."""

from typing import TYPE_CHECKING, cast

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.forms import BaseUserCreationForm
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from console.rendering import render_page
from core.problems import Problem
from organizations.audit import Actor
from organizations.models import Invitation
from organizations.operations import accept_invitation, find_invitation
from organizations.user_names import HELP, free_user_name

# Generic for the type checker only.
if TYPE_CHECKING:
    _CreationForm = BaseUserCreationForm[User]
else:
    _CreationForm = BaseUserCreationForm


class AccountForm(_CreationForm):
    """An account to be made; its mail address is the invitation's."""

    class Meta(BaseUserCreationForm.Meta):
        fields = ("username",)
        help_texts = {"username": HELP}

    def clean_username(self) -> str:
        return free_user_name(self.cleaned_data["username"])


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """No sign-in is asked for: whoever has the link was given it."""
    found = find_invitation(token, now=timezone.now())
    if found is None:
        return render_page(request, "console/members/no_invitation.html", {}, status=404)
    if found.organization.suspended_at is not None:
        said = f"{found.organization.name} is suspended, so nobody can join. The link works again once it is resumed."
        problem = Problem("organization_suspended", said)
        return render_page(request, "console/members/not_joined.html", {"problem": problem}, status=403)
    form = None if request.user.is_authenticated else AccountForm(request.POST if request.method == "POST" else None)
    if request.method != "POST" or (form is not None and not form.is_valid()):
        context = {"invitation": found, "form": form}
        return render_page(request, "console/members/invitation.html", context)
    user = cast(User, request.user) if form is None else form.save(commit=False)
    try:
        accept_invitation(invitation=found, user=user, actor=Actor.person(user, request), now=timezone.now())
    except Problem as problem:
        return render_page(request, "console/members/not_joined.html", {"problem": problem}, status=409)
    except IntegrityError:
        cast(AccountForm, form).add_error("username", "This name has just been taken. Choose another one.")
        return render_page(request, "console/members/invitation.html", {"invitation": found, "form": form})
    return _enter(request, found, user, is_new=form is not None)


def _enter(request: HttpRequest, found: Invitation, user: User, *, is_new: bool) -> HttpResponse:
    if is_new:
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    messages.success(request, f"Welcome to {found.organization.name}. You are {found.role} here.")
    return redirect("console:overview", found.organization.slug)
