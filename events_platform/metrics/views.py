"""`/metrics` of the web server."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from events_platform.metrics.exposition import CONTENT_TYPE, ProcessesCollector, exposition, may_read
from events_platform.metrics.state import StateCollector
from rest.problems import Problem, problem_response

# Any of them says that somebody else than the peer asks; a proxy on this host would make all the world loopback.
_FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "Via")
_state = StateCollector()
_processes = ProcessesCollector()


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics, to loopback or whoever has the token; 403 as a problem to others."""
    allowed = may_read(
        authorization=request.headers.get("Authorization", ""),
        address=request.META.get("REMOTE_ADDR", ""),
        forwarded=any(name in request.headers for name in _FORWARDED),
    )
    if not allowed:
        problem = Problem("permission_denied", "Metrics are for loopback, and for the bearer of METRICS_TOKEN.")
        return problem_response(problem, request.request_id)  # type: ignore[attr-defined]
    return HttpResponse(exposition(_state, _processes), content_type=CONTENT_TYPE)
