"""Nobody gets past a page for people with half a sign-in."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.crypto import constant_time_compare

from accounts.second_factor.state import SecondFactor, second_factor_of

GetResponse = Callable[[HttpRequest], HttpResponse]

_ALWAYS = {"console:sign-in", "console:sign-out", "admin:logout"}
# The API knows keys, and its documentation is for everybody; health is told without PostgreSQL too. The portal has
# sessions of its own.
_WITHOUT_SESSIONS = ("/api/", "/health/", "/portal/")
# To set one up takes the password once more, when it was given too long ago.
_OPEN = {
    SecondFactor.CONFIRM: _ALWAYS | {"mfa_reauthenticate", "mfa_reauthenticate_webauthn"},
    SecondFactor.SET_UP: _ALWAYS | {"mfa_index", "mfa_activate_totp", "mfa_add_webauthn", "account_reauthenticate"},
}


class RotatedSecretKeyMiddleware:
    """Takes sessions over to a new SECRET_KEY, while the old one is among the fallbacks. Before `request.user` is read.

    Django would do so by giving the session another id. Whoever has several pages open would be signed out by those
    that still send the former one, and the list of sessions would not know the new one.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        has_session = settings.SESSION_COOKIE_NAME in request.COOKIES
        if settings.SECRET_KEY_FALLBACKS and has_session and not request.path.startswith(_WITHOUT_SESSIONS):
            user_id = request.session.get(SESSION_KEY)
            user = User.objects.filter(pk=user_id).first() if user_id else None
            held = request.session.get(HASH_SESSION_KEY, "")
            if user and any(constant_time_compare(held, former) for former in user.get_session_auth_fallback_hash()):
                request.session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        return self.get_response(request)


class SecondFactorMiddleware:
    """Leads a session that lacks its second factor to the page that asks for it, and keeps it from every other."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        user = None if request.path.startswith(_WITHOUT_SESSIONS) else request.user
        if not isinstance(user, User):
            return None
        state = second_factor_of(request, user)
        name = request.resolver_match.view_name if request.resolver_match else ""
        if state is SecondFactor.NOTHING or name in _OPEN[state]:
            return None
        page = "mfa_index" if state is SecondFactor.SET_UP else _confirmation_page(user)
        # A form that was sent meanwhile is lost; where it was sent to is often no page.
        wanted = {"next": request.get_full_path()} if request.method == "GET" else {}
        return HttpResponseRedirect(f"{reverse(page)}?{urlencode(wanted)}" if wanted else reverse(page))


def _confirmation_page(user: User) -> str:
    has_app = Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).exists()
    return "mfa_reauthenticate" if has_app else "mfa_reauthenticate_webauthn"
