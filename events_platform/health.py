"""Is the process alive, and can the platform do its work? For load balancers and operators."""

import logging
import time
from collections.abc import Callable, Collection
from datetime import datetime
from functools import cache

from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django_redis import get_redis_connection

from events_platform.celery import app
from events_platform.heartbeat import LATE_SECONDS, last_beat
from events_platform.version import VERSION, revision
from ingestion.models import OutboxEntry
from ingestion.partitions import WEEK, has_partition, week_of

logger = logging.getLogger(__name__)

# Beat sweeps every 2 s: events older than this have no worker.
MAX_UNPROCESSED_SECONDS = 60


def live(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers: `{"status", "version", "revision"}`."""
    return JsonResponse({"status": "ok", "version": VERSION, "revision": revision()})


def ready(request: HttpRequest) -> JsonResponse:
    """200, or 503 with the failing part named: `{"status", "failing", "parts": {name: "ok" | what is wrong}, "notes"}`.

    `notes` are of the same form and change no status: what will be trouble, but does not keep events from being taken.
    """
    checks: dict[str, Callable[[], str]] = {
        "postgresql": _postgresql,
        "redis": _redis,
        "broker": _broker,
        "processing": _processing,
    }
    parts = {name: _outcome(name, check) for name, check in checks.items()}
    failing = [name for name, outcome in parts.items() if outcome != "ok"]
    body = {"status": "failing" if failing else "ok", "failing": failing, "parts": parts, "notes": _notes(parts)}
    return JsonResponse(body, status=503 if failing else 200)


def _notes(parts: dict[str, str]) -> dict[str, str]:
    """Not asked of what is known to be away, which would only take its time again."""
    checks = {
        "beat": ("redis", _beat),
        "migrations": ("postgresql", _migrations),
        "partitions": ("postgresql", _partitions),
    }
    return {
        name: _outcome(name, check) if parts[needed] == "ok" else "unknown" for name, (needed, check) in checks.items()
    }


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
    connect_to_broker()
    return "ok"


def connect_to_broker() -> None:
    """Raises what kombu raises when it does not let us in, within some seconds."""
    with app.connection_for_write(connect_timeout=2) as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=2)


def _processing() -> str:
    age = OutboxEntry.objects.oldest_age_seconds()
    return "ok" if age < MAX_UNPROCESSED_SECONDS else f"the oldest unprocessed event is {age:.0f} s old"


def _beat() -> str:
    beat = last_beat()
    if beat is None:
        return "no sign of life is known"
    age = time.time() - beat
    return "ok" if age < LATE_SECONDS else f"its last sign of life is {age:.0f} s old"


def _migrations() -> str:
    missing = missing_migrations()
    return "ok" if not missing else f"{len(missing)} are not applied"


def missing_migrations() -> list[tuple[str, str]]:
    """App and name of those that this code has and the database does not."""
    return sorted(_known_migrations() - MigrationRecorder(connection).applied_migrations().keys())


def newer_migrations(apps: Collection[str]) -> list[tuple[str, str]]:
    """Likewise of those that the database has and this code does not know; of `apps` alone."""
    applied = MigrationRecorder(connection).applied_migrations().keys()
    loader = MigrationLoader(None)
    known = loader.disk_migrations.keys() | {key for one in loader.disk_migrations.values() for key in one.replaces}
    return sorted(key for key in applied - known if key[0] in apps)


@cache
def _known_migrations() -> frozenset[tuple[str, str]]:
    """Of the code that runs; they do not change while it does."""
    loader = MigrationLoader(None)
    replacing = {key for key, migration in loader.disk_migrations.items() if migration.replaces}
    return frozenset(loader.disk_migrations.keys() - replacing)


def _partitions() -> str:
    """Rows would go into the default partition, from which it costs a lock to move them."""
    missing = tables_without(week_of(timezone.now()) + WEEK)
    return "ok" if not missing else f"missing for next week: {', '.join(missing)}"


def tables_without(week: datetime) -> list[str]:
    """Those of the partitioned tables that have no partition for the week that begins then."""
    return [table for table in settings.PARTITIONED_TABLES if not has_partition(table, week)]
