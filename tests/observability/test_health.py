"""`/health/ready`: can an event be taken now? `/health/status`: how is each part? Whatever hangs, both answer."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil
import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from redis import Redis

from core.version import VERSION
from ingestion.models import IntakeProbe
from installation.health.readiness import forget_readiness
from observability.metrics.exposition import ProcessesCollector, exposition
from observability.metrics.state import StateCollector
from observability.signs_of_life import KEY, Sign, redis_client
from tests.support.doctor_patient import valkey
from tests.support.http.proxies import PostgresProxy, postgres_proxy
from tests.support.metrics import samples
from tests.support.servers import free_port, serve, test_database_url
from tests.support.waiting import wait_until

PARTS = [
    "intake", "postgresql", "redis", "broker", "processing", "sending", "beat", "partitions", "clock", "disk",
    "migrations", "versions", "durability",
]  # fmt: skip


def ready() -> tuple[int, dict[str, Any]]:
    answer = Client().get("/health/ready")
    return answer.status_code, answer.json()


def status() -> tuple[int, dict[str, Any]]:
    answer = Client().get("/health/status")
    return answer.status_code, answer.json()


# --- Without a door: Django's own connection -------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_ready_has_committed_something() -> None:
    assert ready() == (200, {"status": "ok", "failing": [], "parts": {"intake": "ok", "postgresql": "ok"}})
    assert IntakeProbe.objects.count() == 1


@pytest.fixture
def without_postgresql(transactional_db: None) -> Iterator[None]:
    """Nobody listens where PostgreSQL is looked for."""
    kept = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(HOST="127.0.0.1", PORT=str(free_port()))
    yield
    connection.close()
    connection.settings_dict.update(kept)


@pytest.mark.usefixtures("without_postgresql")
def test_without_postgresql() -> None:
    code, body = ready()
    assert (code, body["failing"]) == (503, ["intake", "postgresql"])
    assert body["parts"]["intake"] == "No event can be committed: PostgreSQL does not answer."
    code, body = status()
    assert (code, body["failing"]) == (503, ["intake", "postgresql", "beat"])
    assert list(body["parts"]) == PARTS
    assert body["parts"]["redis"]["state"] == "ok"
    assert body["parts"]["processing"]["state"] == body["parts"]["migrations"]["state"] == "unknown"


@pytest.mark.usefixtures("without_postgresql")
def test_metrics_without_postgresql_tell_of_the_rest() -> None:
    found = samples(exposition(StateCollector(), ProcessesCollector()))
    failing = {dict(labels)["part"]: value for (name, labels), value in found.items() if name == "events_scrape_errors"}
    assert failing.pop("heartbeat") == failing.pop("queues") == 0
    assert set(failing.values()) == {1}
    assert ("events_limiter_leases", frozenset()) in found


@pytest.mark.django_db(transaction=True)
def test_an_intake_that_is_read_only_or_locked_is_named() -> None:
    with psycopg.connect(test_database_url(), autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{connection.settings_dict["NAME"]}" SET default_transaction_read_only = on')
        try:
            connection.close()
            assert ready()[1]["parts"] == {
                "intake": "No event can be committed: PostgreSQL takes no writes: it is read-only.",
                "postgresql": "ok",
            }
        finally:
            other.execute("SET default_transaction_read_only = off")
            other.execute(f'ALTER DATABASE "{connection.settings_dict["NAME"]}" RESET default_transaction_read_only')
    forget_readiness()
    with psycopg.connect(test_database_url()) as other:
        other.execute("LOCK TABLE ingestion_outboxentry IN SHARE ROW EXCLUSIVE MODE")
        code, body = ready()
        assert (code, body["failing"]) == (503, ["intake"])
        assert body["parts"]["intake"] == "No event can be committed: a table that is needed is locked."
    forget_readiness()
    assert ready()[0] == 200


# --- With the door ---------------------------------------------------------------------------------------------------


@contextmanager
def server_behind(
    proxy: PostgresProxy, kind: Literal["asgi", "wsgi"] = "asgi", *, redis_url: str | None = None
) -> Iterator[Callable[[str], tuple[int, dict[str, Any]]]]:
    """A web server; yields how to ask it. An answer that takes two seconds is none."""
    redis_url = redis_url or settings.REDIS_URL
    with serve(kind, workers=1, DATABASE_URL=proxy.url, REDIS_URL=redis_url, CELERY_BROKER_URL=redis_url) as server:
        connected = http.client.HTTPConnection(server.base_url.removeprefix("http://"), timeout=2)

        def ask(path: str) -> tuple[int, dict[str, Any]]:
            connected.request("GET", path)
            answer = connected.getresponse()
            return answer.status, json.loads(answer.read())

        yield ask


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_a_postgresql_that_hangs_is_named_within_two_seconds_and_ready_again_by_itself(
    kind: Literal["asgi", "wsgi"],
) -> None:
    with postgres_proxy() as proxy, server_behind(proxy, kind) as ask:
        wait_until(lambda: ask("/health/ready")[0] == 200)
        proxy.hang()
        wait_until(lambda: ask("/health/ready")[0] == 503)
        code, body = ask("/health/ready")
        assert (code, body["failing"]) == (503, ["intake", "postgresql"])
        assert body["parts"]["intake"].startswith("No event can be committed: PostgreSQL ")
        code, body = ask("/health/status")
        assert (code, body["failing"][:2]) == (503, ["intake", "postgresql"])
        assert {body["parts"][name]["state"] for name in ("processing", "sending", "migrations")} == {"unknown"}
        assert body["parts"]["redis"]["state"] == "ok"
        proxy.restore()
        wait_until(lambda: ask("/health/ready")[0] == 200)


@pytest.mark.django_db(transaction=True)
def test_a_redis_that_hangs_or_is_full_keeps_no_event_out_and_is_named(tmp_path: Path) -> None:
    with valkey(tmp_path) as port, postgres_proxy() as proxy:
        url = f"redis://127.0.0.1:{port}/0"
        with server_behind(proxy, redis_url=url) as ask, Redis(port=port) as redis:
            process = psutil.Process(redis.info("server")["process_id"])
            process.suspend()
            assert ask("/health/ready")[0] == 200
            code, body = ask("/health/status")
            assert (code, body["failing"]) == (503, ["redis", "broker"])
            assert body["parts"]["beat"]["state"] == "unknown"
            process.resume()
            redis.config_set("maxmemory", 1)
            wait_until(lambda: "maxmemory" in ask("/health/status")[1]["parts"]["broker"]["reason"])
            assert ask("/health/ready")[0] == 200
            redis.config_set("maxmemory", 0)
            wait_until(lambda: ask("/health/status")[1]["parts"]["redis"]["state"] == "ok")


@pytest.mark.django_db(transaction=True)
def test_a_clock_that_is_off_is_named_by_process_and_host() -> None:
    now = time.time()
    late = Sign(role="worker", host="elsewhere", pid=7, space="", version=VERSION, revision="unknown", connections=4,
                clock=now + 7200, written_at=now)  # fmt: skip
    redis_client().hset(KEY, "late", msgspec.json.encode(late))
    part = status()[1]["parts"]["clock"]
    assert part["state"] == "failing"
    assert "worker@elsewhere:7 (+7200 s)" in part["reason"]


# --- Who may ask -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_state_of_the_parts_is_for_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "METRICS_TOKEN", "t" * 32)
    elsewhere = Client(REMOTE_ADDR="203.0.113.7")
    assert elsewhere.get("/health/status").status_code == 403
    assert Client().get("/health/status", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403
    assert elsewhere.get("/health/status", headers={"Authorization": f"Bearer {'t' * 32}"}).status_code == 503
