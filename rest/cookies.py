"""Cookies that take long to read are not read."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

# Python before 3.11.10 looks through the rest of a quoted cookie for each backslash in it (CVE-2024-7592): 8 KB of them
# take 0.2 s, and a request may bring a hundred times as much. Cookies of the platform hold none.
MAX_BACKSLASHES = 100


class CookieMiddleware:
    """In front of all that asks for a cookie."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.META.get("HTTP_COOKIE", "").count("\\") > MAX_BACKSLASHES:
            del request.META["HTTP_COOKIE"]
        return self.get_response(request)
