"""`/metrics` of the web server."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from events_platform.metrics.exposition import CONTENT_TYPE, FORWARDED, ProcessesCollector, exposition, may_read
from events_platform.metrics.state import StateCollector
from rest.problems import Problem, problem_response

_state = StateCollector()
_processes = ProcessesCollector()


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics, to loopback or whoever has the token; 403 as a problem to others."""
    allowed = may_read(
        authorization=request.headers.get("Authorization", ""),
        address=request.META.get("REMOTE_ADDR", ""),
        forwarded=any(name in request.headers for name in FORWARDED),
    )
    if not allowed:
        problem = Problem("permission_denied", "Metrics are for loopback, and for the bearer of METRICS_TOKEN.")
        return problem_response(problem, request.request_id)  # type: ignore[attr-defined]
    return HttpResponse(exposition(_state, _processes), content_type=CONTENT_TYPE)
