"""The pages of a person's own account. The second factor's are allauth's, in our frame (see accounts.urls)."""

from typing import Any, cast

from allauth.account.internal.flows.login import record_authentication
from allauth.core import ratelimit
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.views import ActivateTOTPView
from allauth.mfa.webauthn.views import AddWebAuthnView, RemoveWebAuthnView
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.views.decorators.http import require_POST, require_safe

from accounts.audit import record_account
from accounts.notices import Change, tell_owner
from accounts.operations import forget_ended_sessions
from accounts.reset_mail import request_reset
from accounts.second_factor.adapters import SecondFactorAdapter
from accounts.second_factor.state import has_second_factor

MAX_LISTED_SESSIONS = 50


@require_safe
@login_required
def overview(request: HttpRequest) -> HttpResponse:
    """What there is to an account."""
    return render(request, "account/overview.html", {"has_second_factor": has_second_factor(_user(request))})


@require_safe
@login_required
def sessions(request: HttpRequest) -> HttpResponse:
    """Where one is signed in; sessions that are over are forgotten here."""
    forget_ended_sessions(_user(request))
    newest = UserSession.objects.filter(user=_user(request)).order_by("-created_at")[:MAX_LISTED_SESSIONS]
    # A changed password ends sessions whose rows are still there.
    return render(request, "account/sessions.html", {"sessions": [each for each in newest if not each.purge()]})


@require_POST
@login_required
def end_session(request: HttpRequest, session_id: int) -> HttpResponse:
    """Sign out elsewhere."""
    session = get_object_or_404(UserSession, pk=session_id, user=_user(request))
    session.end()
    record_account(request, _user(request), "session_ended", {"sessions": 1})
    messages.success(request, "That session was signed out.")
    return redirect("account_sessions")


@require_POST
@login_required
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    """Sign out everywhere but here."""
    others = list(UserSession.objects.filter(user=_user(request)).exclude(session_key=request.session.session_key))
    for session in others:
        session.end()
    record_account(request, _user(request), "session_ended", {"sessions": len(others)})
    messages.success(request, f"Signed out of other sessions: {len(others)}.")
    return redirect("account_sessions")


class _ShownJustNow:
    """A second factor that has just been set up was shown in this session, which need not be asked for it again."""

    factor: str

    def form_valid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)  # type: ignore[misc]
        request: HttpRequest = self.request  # type: ignore[attr-defined]
        record_authentication(request, _user(request), "mfa", type=self.factor, reauthenticated=True)
        return response


class AddAppView(_ShownJustNow, ActivateTOTPView):  # type: ignore[misc]
    factor = Authenticator.Type.TOTP.value


class AddPasskeyView(_ShownJustNow, AddWebAuthnView):  # type: ignore[misc]
    factor = Authenticator.Type.WEBAUTHN.value


class RemovePasskeyView(RemoveWebAuthnView):  # type: ignore[misc]
    """allauth asks only before it removes the app whether that may be removed."""

    def form_valid(self, form: Any) -> HttpResponse:
        if not get_adapter().can_delete_authenticator(self.object):
            messages.error(self.request, SecondFactorAdapter.error_messages["cannot_delete_authenticator"])
            return redirect("mfa_list_webauthn")
        response: HttpResponse = super().form_valid(form)
        return response


class PasswordChangeView(auth_views.PasswordChangeView):
    """A changed password ends every other session: Django's session hash covers it."""

    template_name = "account/password_change.html"
    success_url = reverse_lazy("account_overview")

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        UserSession.objects.create_from_request(self.request)  # the session has a new key now
        record_account(self.request, _user(self.request), "password_changed")
        tell_owner(_user(self.request), Change.PASSWORD_CHANGED, self.request)
        messages.success(self.request, "The password was changed. Your other sessions were signed out.")
        return response


class PasswordResetView(auth_views.PasswordResetView):
    """Has a link mailed, and says the same whether or not there is such an account."""

    template_name = "account/password_reset.html"
    success_url = reverse_lazy("account_reset_password_sent")

    def form_valid(self, form: Any) -> HttpResponse:
        if not ratelimit.consume(self.request, action="reset_password", key=form.cleaned_data["email"].lower()):
            form.add_error(None, "Too many requests. Try again in a few minutes.")
            return self.render_to_response(self.get_context_data(form=form), status=429)
        request_reset(form.cleaned_data["email"])
        return redirect(self.get_success_url())


class PasswordResetConfirmView(auth_views.PasswordResetConfirmView):
    """The page behind the link. Whoever has a second factor is asked for it at the next sign-in all the same."""

    template_name = "account/password_reset_confirm.html"
    success_url = reverse_lazy("account_reset_password_done")

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        record_account(self.request, form.user, "password_reset")
        tell_owner(form.user, Change.PASSWORD_RESET, self.request)
        return response


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)
