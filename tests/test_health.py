"""`/health/ready` names what is away; what is only trouble to come is a note. (The good case: test_api.)"""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connection
from django.test import Client
from django.utils import timezone
from redis import Redis

from events_platform import health, heartbeat
from events_platform.celery import app
from events_platform.metrics.exposition import ProcessesCollector, exposition
from events_platform.metrics.state import StateCollector
from tests.test_metrics import exporter_port, samples


def ready() -> tuple[int, dict[str, Any]]:
    answer = Client().get("/health/ready")
    return answer.status_code, answer.json()


@pytest.fixture
def without_postgresql(transactional_db: None) -> Iterator[None]:
    """Nobody listens where PostgreSQL is looked for."""
    kept = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(HOST="127.0.0.1", PORT=str(exporter_port()))
    yield
    connection.close()
    connection.settings_dict.update(kept)


@pytest.mark.usefixtures("without_postgresql")
def test_without_postgresql() -> None:
    status, body = ready()
    assert (status, body["failing"]) == (503, ["postgresql", "processing"])
    assert body["parts"]["redis"] == "ok"
    assert body["notes"]["migrations"] == body["notes"]["partitions"] == "unknown"


@pytest.mark.usefixtures("without_postgresql")
def test_metrics_without_postgresql_tell_of_the_rest() -> None:
    found = samples(exposition(StateCollector(), ProcessesCollector()))
    failing = {dict(labels)["part"]: value for (name, labels), value in found.items() if name == "events_scrape_errors"}
    assert failing.pop("heartbeat") == failing.pop("queues") == 0
    assert set(failing.values()) == {1}
    assert ("events_limiter_leases", frozenset()) in found


def test_without_redis_and_broker(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    port = exporter_port()
    monkeypatch.setattr(health, "get_redis_connection", lambda _: Redis(port=port, socket_connect_timeout=1))
    monkeypatch.setattr(app.conf, "broker_write_url", f"redis://127.0.0.1:{port}/0")
    status, body = ready()
    assert (status, body["failing"]) == (503, ["redis", "broker"])
    assert body["notes"]["beat"] == "unknown"
    assert Client().get("/health/live").status_code == 200


def test_notes_change_no_status(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    caches["default"].clear()
    monkeypatch.setattr(health, "_known_migrations", lambda: frozenset({("ingestion", "9999_to_come")}))
    monkeypatch.setattr(health, "WEEK", timedelta(weeks=500))
    status, body = ready()
    assert status == 200
    assert body["notes"]["beat"] == "no sign of life is known"
    assert body["notes"]["migrations"] == "1 are not applied"
    assert body["notes"]["partitions"].startswith("missing for next week: ingestion_event")


def test_all_is_well_while_beat_beats(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_written_at", float("-inf"))
    heartbeat._beat()
    assert ready()[1]["notes"] == {"beat": "ok", "migrations": "ok", "partitions": "ok"}
    late = timezone.now() + timedelta(seconds=heartbeat.LATE_SECONDS + 1)
    monkeypatch.setattr(time, "time", late.timestamp)
    assert ready()[1]["notes"]["beat"].startswith("its last sign of life is 3")
