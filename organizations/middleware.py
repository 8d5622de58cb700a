"""The rate limit's header fields on every answer to an authenticated request of the API."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from core.ports import SyncRedis, run_now
from organizations.rate_limits import Allowance, limiter


class RateLimitMiddleware:
    """Stands outside of ProblemMiddleware, which may replace the answer.

    A view that takes tokens leaves its Allowance in `request.rate_limit`. For other requests with a `request.caller`
    the fields say what is left, which costs one call of Redis.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        allowance = _allowance(request) if request.path.startswith("/api/") else None
        if allowance is not None:
            for name, value in allowance.headers().items():
                response.setdefault(name, value)
        return response


def _allowance(request: HttpRequest) -> Allowance | None:
    taken: Allowance | None = getattr(request, "rate_limit", None)
    if taken is not None:
        return taken
    caller = getattr(request, "caller", None)
    return None if caller is None else run_now(limiter.peek(SyncRedis(), caller))
