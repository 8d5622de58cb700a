"""Header fields that take long to read are not read."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse

# Python before 3.11.10 looks through the rest of a quoted cookie for each backslash in it (CVE-2024-7592): 8 KB of them
# take 0.2 s, and a request may bring a hundred times as much. Cookies of the platform hold none.
MAX_BACKSLASHES = 100
# Django takes it apart in the event loop, before anything of ours, at 9 µs for each semicolon. A boundary has 70
# characters at most (RFC 2046, 5.1.1).
MAX_CONTENT_TYPE = 1_000

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class CookieMiddleware:
    """In front of all that asks for a cookie."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.META.get("HTTP_COOKIE", "").count("\\") > MAX_BACKSLASHES:
            del request.META["HTTP_COOKIE"]
        return self.get_response(request)


class ContentTypeBound:
    """An ASGI application in front of Django's."""

    def __init__(self, django: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._django = django

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope.get("headers", ())
        if sum(len(value) for name, value in headers if name == b"content-type") > MAX_CONTENT_TYPE:
            scope["headers"] = [header for header in headers if header[0] != b"content-type"]
        await self._django(scope, receive, send)
