"""`/metrics` of the web server."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from core.problems import Problem
from observability.metrics.exposition import CONTENT_TYPE, FORWARDED, ProcessesCollector, exposition, may_read
from observability.metrics.state import StateCollector
from rest.problems import problem_response

_state = StateCollector()
_processes = ProcessesCollector()


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics, to loopback or whoever has the token; 403 as a problem to others."""
    return refusal(request, "Metrics are") or HttpResponse(exposition(_state, _processes), content_type=CONTENT_TYPE)


def refusal(request: HttpRequest, what: str) -> HttpResponse | None:
    """403 as a problem for whoever may not read what operators read. `what` begins a sentence: `Metrics are`."""
    allowed = may_read(
        authorization=request.headers.get("Authorization", ""),
        address=request.META.get("REMOTE_ADDR", ""),
        forwarded=any(name in request.headers for name in FORWARDED),
    )
    if allowed:
        return None
    problem = Problem("permission_denied", f"{what} for loopback, and for the bearer of METRICS_TOKEN.")
    return problem_response(problem, request.request_id)  # type: ignore[attr-defined]
