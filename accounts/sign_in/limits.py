"""How often and how much at once one address may try what costs a hash, a mail, or is a guess."""

from collections.abc import Callable
from http import HTTPStatus

from allauth.core import ratelimit
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import Resolver404, resolve

from rest.doors.client_address import client_network
from rest.doors.shares import Budget, TooMuchError

GetResponse = Callable[[HttpRequest], HttpResponse]
# Half of what one process hashes at once: nobody alone keeps all others out.
of_addresses = Budget(share=4)
_BUSY_SECONDS, _OFTEN_SECONDS = 5, 60
GUARDED = frozenset(
    {
        "console:sign-in",
        "admin:login",
        "account_reset_password",
        "account_reset_password_confirm",
        "account_change_password",
        "account_reauthenticate",
        "mfa_reauthenticate",
        "mfa_reauthenticate_webauthn",
        "mfa_activate_totp",
        "console:invitation",
    }
)


class SignInLimitsMiddleware:
    """For forms that are sent to the pages above. It asks nothing of PostgreSQL, and comes before all that does."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST" or not _is_guarded(request.path_info):
            return self.get_response(request)
        try:
            with of_addresses.hold(client_network(request)):
                if not ratelimit.consume(request, action="login"):
                    return _too_much(HTTPStatus.TOO_MANY_REQUESTS, _OFTEN_SECONDS)
                return self.get_response(request)
        except TooMuchError as error:
            return _answer(error)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Also from pages that are not among those above, as of the admin."""
        return _answer(exception) if isinstance(exception, TooMuchError) else None


def _is_guarded(path: str) -> bool:
    try:
        return resolve(path).view_name in GUARDED
    except Resolver404:
        return False


def _answer(error: TooMuchError) -> HttpResponse:
    status = HTTPStatus.SERVICE_UNAVAILABLE if error.is_ours else HTTPStatus.TOO_MANY_REQUESTS
    return _too_much(status, _BUSY_SECONDS)


def _too_much(status: HTTPStatus, seconds: int) -> HttpResponse:
    page = render_to_string("account/too_much.html", {"is_ours": status == 503, "seconds": seconds})
    return HttpResponse(page, status=status, headers={"Retry-After": str(seconds), "Cache-Control": "no-store"})
