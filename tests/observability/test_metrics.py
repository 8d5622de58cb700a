"""`/metrics`: who may read it, and that numbers are kept when processes end or parts fail."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import CollectorRegistry

from core.event_ids import lowest_id
from core.metrics import GatheredCounter, GatheredHistogram, write_gathered
from core.partitions.weeks import WEEK, week_of
from ingestion.intake import counting
from installation.local.data_dir import CHECKOUT
from observability import signs_of_life
from observability.metrics import exporter, folder, queries, state
from observability.metrics.exposition import ProcessesCollector, exposition
from tests.conftest import Tenant
from tests.support.metrics import TOKEN, samples
from tests.support.servers import free_port

# Counts in a process of its own, and ends without any ceremony.
_COUNTING = """
import os
from prometheus_client import Counter, Gauge, Histogram
Counter("done", "Things done.", ["kind"]).labels("a").inc(3)
Histogram("took", "Seconds.", buckets=(1, 2)).observe(1.5)
Gauge("held", "Things held.", multiprocess_mode="livesum").set(7)
print(os.getpid(), flush=True)
os._exit(9)
"""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(folder.VARIABLE, str(tmp_path))
    return tmp_path


def status(**extra: Any) -> int:
    return Client().get("/metrics", **extra).status_code


def test_it_works(tenant: Tenant) -> None:
    tenant.post("/api/v1/events", {"type": "a", "data": 1})
    answer = tenant.client.get("/metrics")
    assert answer["Content-Type"].startswith("text/plain")
    found = samples(answer.content)
    assert ("events_outbox_entries", frozenset()) in found
    posted = {("route", "/api/v1/events"), ("method", "POST"), ("status", "202")}
    assert found["events_http_requests_total", frozenset(posted)] >= 1


def test_only_loopback_and_the_token_may_read(db: None, settings: Any) -> None:
    assert status() == 200
    assert status(REMOTE_ADDR="::1") == 200
    assert status(REMOTE_ADDR="192.0.2.1") == 403
    assert status(REMOTE_ADDR="") == 403
    assert status(headers={"Authorization": "Bearer "}) == 403
    settings.METRICS_TOKEN = TOKEN
    right, wrong = ({"Authorization": f"Bearer {token}"} for token in (TOKEN, TOKEN + "x"))
    assert status(REMOTE_ADDR="192.0.2.1", headers=right) == 200
    assert status(REMOTE_ADDR="192.0.2.1", headers=wrong) == 403
    assert status(headers=wrong) == 403


@pytest.mark.parametrize("field", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_a_proxy_on_this_host_makes_nobody_loopback(db: None, settings: Any, field: str) -> None:
    assert status(headers={field: "127.0.0.1"}) == 403
    settings.METRICS_TOKEN = TOKEN
    assert status(headers={field: "127.0.0.1", "Authorization": f"Bearer {TOKEN}"}) == 200


def test_a_refusal_is_a_problem(db: None) -> None:
    answer = Client().get("/metrics", REMOTE_ADDR="192.0.2.1")
    assert (answer["Content-Type"], answer.json()["code"]) == ("application/problem+json", "permission_denied")


def test_a_part_that_fails_leaves_the_others(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow() -> Iterable[GaugeMetricFamily]:
        queries._rows("SELECT pg_sleep(10)")
        return []

    # Long enough for every other part, on a busy machine too.
    monkeypatch.setattr(state, "STATEMENT_MILLISECONDS", 2_000)
    monkeypatch.setitem(queries.OF_POSTGRESQL, "exports", slow)
    monkeypatch.setattr(queries, "last_beat", lambda: 1 // 0)
    found = samples(exposition(state.StateCollector()))
    failing = {
        dict(labels)["part"] for (name, labels), value in found.items() if name == "events_scrape_errors" and value
    }
    assert failing == {"exports", "heartbeat"}
    assert found["events_outbox_entries", frozenset()] == 0


def test_the_state_is_read_once_in_a_while(db: None, django_assert_num_queries: Any) -> None:
    now = 0.0
    collector = state.StateCollector(clock=lambda: now)
    exposition(collector)
    now = state.CACHE_SECONDS - 1
    with django_assert_num_queries(0):
        exposition(collector)


def test_what_an_ended_process_counted_is_kept_and_its_files_are_not(shared: Path) -> None:
    for turn in (1, 2):
        process = subprocess.run([sys.executable, "-c", _COUNTING], stdout=subprocess.PIPE, check=False)
        assert list(shared.glob(f"*_{int(process.stdout)}.db"))
        found = samples(exposition(ProcessesCollector()))
        assert found["done_total", frozenset({("kind", "a")})] == 3 * turn
        assert found["took_bucket", frozenset({("le", "2.0")})] == turn
        assert found["took_sum", frozenset()] == 1.5 * turn
        assert ("held", frozenset()) not in found
        assert sorted(file.name for file in shared.glob("*.db")) == ["counter_ended.db", "histogram_ended.db"]


def test_a_start_with_nobody_there_begins_at_nought(shared: Path) -> None:
    subprocess.run([sys.executable, "-c", _COUNTING], stdout=subprocess.DEVNULL, check=False)
    folder.clean_folder()
    assert not list(shared.glob("*.db"))


def test_a_start_leaves_running_processes_their_files(shared: Path) -> None:
    subprocess.run([sys.executable, "-c", _COUNTING], stdout=subprocess.DEVNULL, check=False)
    (shared / f"counter_{os.getpid()}.db").touch()
    folder.clean_folder()
    assert {file.name for file in shared.glob("counter_*")} == {"counter_ended.db", f"counter_{os.getpid()}.db"}


def test_a_folder_is_made_when_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set, so that it is taken back at the end even when it was not there.
    monkeypatch.setenv(folder.VARIABLE, "")
    made = folder.choose_folder()
    assert made is not None
    assert folder.folder() == made
    assert folder.choose_folder() is None
    made.rmdir()


def test_gathered_numbers_are_those_of_the_library() -> None:
    registry, bounds = CollectorRegistry(), (1.0, 2.0)
    gathered = GatheredHistogram(Histogram("gathered", "-", buckets=bounds, registry=registry), bounds)
    direct = Histogram("direct", "-", buckets=bounds, registry=registry)
    counter = GatheredCounter(Counter("counted", "-", registry=registry))
    for value in (0.5, 1.0, 1.5, 2.0, 99.0):
        gathered.observe(value)
        direct.observe(value)
        counter.inc(2)
    write_gathered()
    write_gathered()
    assert registry.get_sample_value("counted_total") == 10
    for suffix in ("_sum", "_count"):
        assert registry.get_sample_value(f"gathered{suffix}") == registry.get_sample_value(f"direct{suffix}")
    for bound in ("1.0", "2.0", "+Inf"):
        labels = {"le": bound}
        assert registry.get_sample_value("gathered_bucket", labels) == registry.get_sample_value(
            "direct_bucket", labels
        )


def test_outcomes_have_closed_labels(tenant: Tenant) -> None:
    """Whatever a caller notes as outcome, no word of a tenant becomes a label."""
    counting.note(tenant.organization.pk, "no-code-of-ours")
    found = samples(exposition(ProcessesCollector()))
    codes = {dict(labels)["code"] for name, labels in found if name == "events_intake_events_total"}
    assert "no-code-of-ours" not in codes
    assert "internal_error" in codes


def test_weeks_ahead_are_counted_from_this_one() -> None:
    def ahead(weeks: int) -> int:
        return queries.weeks_ahead(str(lowest_id(week_of(timezone.now()) + weeks * WEEK)))

    assert queries.weeks_ahead(None) == ahead(-300) == ahead(0) == -1
    assert (ahead(1), ahead(5)) == (0, 4)


@pytest.fixture
def exporting(settings: Any) -> Iterator[str]:
    """The exporter of a worker, on a free port."""
    settings.METRICS_PORT, settings.METRICS_TOKEN = free_port(), TOKEN
    server = exporter.start_exporter()
    assert server is not None
    yield f"http://127.0.0.1:{settings.METRICS_PORT}"
    server.shutdown()
    server.server_close()


def fetch(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_workers_can_tell_of_themselves(exporting: str) -> None:
    assert fetch(f"{exporting}/metrics") == 200
    assert fetch(f"{exporting}/metrics", Authorization=f"Bearer {TOKEN}") == 200
    assert fetch(f"{exporting}/metrics", Authorization="Bearer wrong") == 403
    assert fetch(f"{exporting}/metrics", Forwarded="for=192.0.2.1") == 403
    assert fetch(f"{exporting}/") == 404
    assert exporter.start_exporter() is None, "the port is taken: another worker of this host tells"


def test_no_exporter_unless_it_is_asked_for(settings: Any) -> None:
    settings.METRICS_PORT = 0
    assert exporter.start_exporter() is None


def test_metrics_for_everyone_need_a_token(tmp_path: Path) -> None:
    environment = {**os.environ, "METRICS_PORT": "9", "METRICS_HOST": "0.0.0.0"}
    code = "import events_platform.settings"
    refused = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    assert "set METRICS_TOKEN" in refused.stderr


def test_the_heartbeat_is_the_last_task_that_beat_handed_out(db: None) -> None:
    sign = signs_of_life._Writer("beat", 0)
    sign._write()
    assert signs_of_life.last_beat() is None
    sign._note_publish()
    sign._write()
    assert abs(time.time() - (signs_of_life.last_beat() or 0)) < 60
