"""What every answer carries (request id, server time), and problem+json for whatever fails below /api."""

import re
import time
from collections.abc import Callable

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from uuid_utils.compat import uuid7

from core.field_errors import cut
from core.problems import Problem, problem_for_status
from rest.problems import MEDIA_TYPE, problem_response

GetResponse = Callable[[HttpRequest], HttpResponse]
# A batch without a good event is a 422 in the shape of batches.
_OUR_OWN = (MEDIA_TYPE, "application/json")
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id_of(given: str | None) -> str:
    """The client's own request id if it is a sane one, otherwise a new UUIDv7."""
    return given if given and _SANE_REQUEST_ID.fullmatch(given) else str(uuid7())


def is_below_api(path: str) -> bool:
    """Whether programs ask there, however they spell it: `/API/v1`, `//api/v1`, `/api`."""
    first = path.lstrip("/")[:4].lower()
    return first in ("api", "api/")


def server_timing(started: float) -> str:
    """The value of `Server-Timing`; `started` is of time.perf_counter()."""
    return f"app;dur={(time.perf_counter() - started) * 1000:.2f}"


def _problem_of(request: HttpRequest, response: HttpResponse) -> Problem:
    if response.status_code == 400:
        try:
            request.get_host()
        except DisallowedHost:
            host = cut(request.META.get("HTTP_HOST", ""))
            return Problem("bad_request", f"The host {host!r} is not among those of the setting ALLOWED_HOSTS.")
    return problem_for_status(response.status_code)


class RequestIdMiddleware:
    """`request.request_id`, the headers `Request-Id` and `Server-Timing: app;dur=<ms>`."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        request_id = request_id_of(request.headers.get("Request-Id"))
        request.request_id = request_id  # type: ignore[attr-defined]
        response = self.get_response(request)
        response["Request-Id"] = request_id
        response["Server-Timing"] = server_timing(started)
        return response


class ProblemMiddleware:
    """Errors that never reached a view of the API (no route, bad host, a fault) leave as problems too."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if is_below_api(request.path) and response.status_code >= 400 and response.get("Content-Type") not in _OUR_OWN:
            problem = problem_response(_problem_of(request, response), request.request_id)  # type: ignore[attr-defined]
            for name, value in response.items():
                # `Allow`, and what protects browsers; only the body is another one.
                if not name.lower().startswith("content-") or name.lower() == "content-security-policy":
                    problem.headers.setdefault(name, value)
            return problem
        return response
