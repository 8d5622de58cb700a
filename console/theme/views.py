"""The choice of colours, kept in a cookie: a page comes in them at once, and without a script."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from console.pages import signed_in

COOKIE = "theme"
# What is not among them is as the system has it.
_THEMES = ("light", "dark")
_SECONDS = 365 * 86400


@require_POST
@signed_in
def choose(request: HttpRequest) -> HttpResponse:
    """`theme`: light, dark, or anything else for the system's; then back to the page it was chosen on."""
    back, is_secure = request.headers.get("Referer", ""), request.is_secure()
    is_ours = url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}, require_https=is_secure)
    response = redirect(back if is_ours else "console:home")
    theme = request.POST.get("theme", "")
    if theme in _THEMES:
        response.set_cookie(COOKIE, theme, max_age=_SECONDS, secure=is_secure, httponly=True, samesite="Lax")
    else:
        response.delete_cookie(COOKIE, samesite="Lax")
    return response
