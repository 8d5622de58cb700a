"""Each request that Django answers: counted, timed, and told of in one line; its context is bound for all others."""

import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from structlog.contextvars import bind_contextvars, clear_contextvars

from core.log_lines import level_of, log_line
from core.metrics import note_request, write_gathered_if_due
from rest.compat import known_user
from rest.doors.client_address import warn_of_unread_proxy

logger = logging.getLogger("requests")
# Asked every few seconds by machines; only a bad answer is news.
_PROBES = ("/health/", "/metrics")


class ObservingMiddleware:
    """Stands directly inside of RequestIdMiddleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        clear_contextvars()
        bind_contextvars(request_id=request.request_id)  # type: ignore[attr-defined]
        warn_of_unread_proxy(request.headers)
        try:
            response = self.get_response(request)
            seconds = time.perf_counter() - started
            route = route_of(request)
            note_request(route=route, method=request.method or "", status=response.status_code, seconds=seconds)
            if _wanted(request, response):
                _log(request, response, route, seconds)
        finally:
            clear_contextvars()
        write_gathered_if_due()
        return response


def route_of(request: HttpRequest) -> str:
    """The route of the URL configuration, so a closed set of names; `other` for paths that lead nowhere."""
    match = request.resolver_match
    return f"/{match.route}" if match is not None else "other"


def _wanted(request: HttpRequest, response: HttpResponseBase) -> bool:
    wanted = settings.LOG_REQUESTS
    if wanted == "none" or (response.status_code < 400 and request.path.startswith(_PROBES)):
        return False
    return wanted != "errors" or response.status_code >= 400


def _log(request: HttpRequest, response: HttpResponse, route: str, seconds: float) -> None:
    fields: dict[str, object] = {
        "route": route,
        "method": request.method,
        "status": response.status_code,
        "duration_ms": round(seconds * 1000, 2),
        "request_id": request.request_id,  # type: ignore[attr-defined]
    }
    if not response.streaming:
        fields["bytes"] = len(response.content)
    if caller := getattr(request, "caller", None):
        fields |= {"organization_id": caller.organization_id, "key_prefix": caller.key_prefix}
    # What the session knows was looked up already, or is not worth a query.
    if (user := known_user(request)) is not None and user.pk is not None:
        fields["user_id"] = user.pk
    data = getattr(response, "data", None)
    if response.status_code >= 400 and isinstance(data, dict) and "code" in data:
        fields["code"] = data["code"]
    log_line(logger, "request", level=level_of(response.status_code), **fields)
