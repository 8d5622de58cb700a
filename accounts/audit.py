"""Audit entries of what people do with their accounts, with the address and the user agent.

What changes the second factor is mailed to the account's owner as well.
"""

from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import (
    authentication_failed,
    authenticator_added,
    authenticator_removed,
    authenticator_reset,
    authenticator_used,
)
from allauth.usersessions.models import UserSession
from axes.signals import user_locked_out
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.core.cache import cache
from django.http import HttpRequest

from accounts.notices import Change, tell_owner
from accounts.operations import forget_ended_sessions
from accounts.second_factor.state import has_second_factor
from organizations.audit import Actor, record
from rest.doors.client_address import client_address

# Guessing must not fill the log: so many failures of one address are written down in an hour.
FAILURES_LISTED = 60
HOUR = 3600
# Recovery codes come and go with the others.
_ADDED = {Authenticator.Type.TOTP: Change.APP_ADDED, Authenticator.Type.WEBAUTHN: Change.PASSKEY_ADDED}
_REMOVED = {Authenticator.Type.TOTP: Change.APP_REMOVED, Authenticator.Type.WEBAUTHN: Change.PASSKEY_REMOVED}


def connect() -> None:
    user_logged_in.connect(_signed_in)
    user_logged_out.connect(_signed_out)
    user_login_failed.connect(_sign_in_failed)
    user_locked_out.connect(_locked)
    authenticator_added.connect(_factor_added)
    authenticator_removed.connect(_factor_removed)
    authenticator_reset.connect(_codes_renewed)
    authenticator_used.connect(_factor_used)
    authentication_failed.connect(_factor_failed)


def record_account(request: HttpRequest, user: User, action: str, changes: dict[str, Any] | None = None) -> None:
    """An entry `account.<action>` of what `user` did."""
    record(actor=Actor.person(user, request), action=f"account.{action}", target=user, organization=None,
           changes=changes)  # fmt: skip


def _signed_in(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    # A password that was given a moment ago need not be asked for again to set up a second factor; where there is one,
    # the password confirms nothing.
    record_authentication(request, user, "password", reauthenticated=None if has_second_factor(user) else True)
    if "REMOTE_ADDR" in request.META:
        forget_ended_sessions(user)
        UserSession.objects.create_from_request(request)
    record_account(request, user, "signed_in")


def _signed_out(sender: Any, request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        record_account(request, user, "signed_out")


def _sign_in_failed(
    sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    _record_failure(request, str(credentials.get("username", "")), "sign_in_failed")


def _locked(sender: Any, request: HttpRequest, username: str | None = None, **kwargs: Any) -> None:
    _record_failure(request, username or "", "locked")


def _record_failure(request: HttpRequest | None, username: str, action: str) -> None:
    """Of accounts that exist: what else was typed as a user name may be a password."""
    user = User.objects.filter(username=username[:150].replace("\x00", "")).first()
    if request is not None and user is not None and _is_listed(request):
        record_account(request, user, action)


def _is_listed(request: HttpRequest) -> bool:
    name = f"accounts:failures:{client_address(request)}"
    cache.add(name, 0, HOUR)
    try:
        return bool(cache.incr(name) <= FAILURES_LISTED)
    except (ValueError, TypeError):  # it ended just now, or the cache is away
        return True


def _factor_added(sender: Any, request: HttpRequest, user: User, authenticator: Authenticator, **kwargs: Any) -> None:
    record_account(request, user, "second_factor_added", {"type": authenticator.type})
    if change := _ADDED.get(authenticator.type):
        tell_owner(user, change, request)


def _factor_removed(sender: Any, request: HttpRequest, user: User, authenticator: Authenticator, **kwargs: Any) -> None:
    record_account(request, user, "second_factor_removed", {"type": authenticator.type})
    if change := _REMOVED.get(authenticator.type):
        tell_owner(user, change, request)


def _codes_renewed(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    record_account(request, user, "recovery_codes_renewed")
    tell_owner(user, Change.CODES_RENEWED, request)


def _factor_used(sender: Any, request: HttpRequest, user: User, authenticator: Authenticator, **kwargs: Any) -> None:
    record_account(request, user, "second_factor_confirmed", {"type": authenticator.type})


def _factor_failed(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    if _is_listed(request):
        record_account(request, user, "second_factor_failed")
