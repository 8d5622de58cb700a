"""Is the process alive, and can the platform do its work? For load balancers and operators."""

import logging
from collections.abc import Callable

from django.db import connection
from django.http import HttpRequest, JsonResponse
from django_redis import get_redis_connection

from events_platform.celery import app
from ingestion.models import OutboxEntry

logger = logging.getLogger(__name__)

# Beat sweeps every 2 s: events older than this have no worker.
MAX_UNPROCESSED_SECONDS = 60


def live(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """200, or 503 with the failing part named: `{"status", "parts": {name: "ok" | what is wrong}}`."""
    checks: dict[str, Callable[[], str]] = {
        "postgresql": _postgresql,
        "redis": _redis,
        "broker": _broker,
        "processing": _processing,
    }
    parts = {name: _outcome(name, check) for name, check in checks.items()}
    failing = [name for name, outcome in parts.items() if outcome != "ok"]
    body = {"status": "failing" if failing else "ok", "failing": failing, "parts": parts}
    return JsonResponse(body, status=503 if failing else 200)


def _outcome(name: str, check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception:  # any fault at all means: not ready
        logger.warning("health check failed: %s", name, exc_info=True)
        return "unreachable"


def _postgresql() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


def _redis() -> str:
    get_redis_connection("default").ping()
    return "ok"


def _broker() -> str:
    with app.connection_for_write(connect_timeout=2) as broker:
        broker.ensure_connection(max_retries=1, timeout=2)
    return "ok"


def _processing() -> str:
    age = OutboxEntry.objects.oldest_age_seconds()
    return "ok" if age < MAX_UNPROCESSED_SECONDS else f"the oldest unprocessed event is {age:.0f} s old"
