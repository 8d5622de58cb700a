"""What every answer carries (request id, server time), and problem+json for whatever fails below /api/."""

import re
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from uuid_utils.compat import uuid7

from rest.problems import MEDIA_TYPE, problem_for_status, problem_response

GetResponse = Callable[[HttpRequest], HttpResponse]
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestIdMiddleware:
    """`request.request_id`, the headers `Request-Id` and `Server-Timing: app;dur=<ms>`."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        given = request.headers.get("Request-Id", "")
        request_id = given if _SANE_REQUEST_ID.fullmatch(given) else str(uuid7())
        request.request_id = request_id  # type: ignore[attr-defined]
        response = self.get_response(request)
        response["Request-Id"] = request_id
        response["Server-Timing"] = f"app;dur={(time.perf_counter() - started) * 1000:.2f}"
        return response


class ProblemMiddleware:
    """Errors that never reached a view of the API (no route, bad host, a fault) leave as problems too."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if (
            request.path.startswith("/api/")
            and response.status_code >= 400
            and response.get("Content-Type") != MEDIA_TYPE
        ):
            return problem_response(problem_for_status(response.status_code), request.request_id)  # type: ignore[attr-defined]
        return response
