"""`/health/live`, `/health/ready`, `/health/status`."""

from collections.abc import Mapping
from dataclasses import asdict

from django.http import HttpRequest, HttpResponse, JsonResponse

from core.version import VERSION, revision
from installation.health.readiness import OK, look_at_intake
from installation.health.status import State, look_at_all
from observability.metrics.views import refusal


def live(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers: `{"status", "version", "revision"}`."""
    return _answer({"status": "ok", "version": VERSION, "revision": revision()}, failing=[])


def ready(request: HttpRequest) -> JsonResponse:
    """200 when an event can be taken now, else 503: `{"status", "failing", "parts": {name: "ok" | what is wrong}}`."""
    parts = look_at_intake()
    failing = [name for name, outcome in parts.items() if outcome != OK]
    return _answer({"status": "failing" if failing else "ok", "failing": failing, "parts": parts}, failing=failing)


def status(request: HttpRequest) -> HttpResponse:
    """200, or 503 when a part fails, for whoever may read the metrics.

    `{"status", "failing", "version", "revision", "parts": {name: {"state", "reason"}}}`
    """
    refused = refusal(request, "The state of the parts is")
    if refused is not None:
        return refused
    parts = look_at_all()
    failing = [name for name, part in parts.items() if part.state is State.FAILING]
    body = {
        "status": "failing" if failing else "ok",
        "failing": failing,
        "version": VERSION,
        "revision": revision(),
        "parts": {name: asdict(part) for name, part in parts.items()},
    }
    return _answer(body, failing=failing)


def _answer(body: Mapping[str, object], *, failing: list[str]) -> JsonResponse:
    return JsonResponse(body, status=503 if failing else 200, headers={"Cache-Control": "no-store"})
