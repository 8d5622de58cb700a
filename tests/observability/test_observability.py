"""A whole platform at work, watched by its metrics and its logs; and the rules and drawings that are made of them."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
import yaml
from django.db import connection
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families as parse

from installation.local.data_dir import CHECKOUT
from organizations.keys.key_format import generate_key
from tests.support.http.clients import Client, make_sender
from tests.support.http.receiver import Receiver, receiving
from tests.support.metrics import TOKEN, samples
from tests.support.pages import pieces_of_pages
from tests.support.servers import Server, free_port, serve, test_database_url
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

OBSERVABILITY = CHECKOUT / "deploy/observability"
OPERATIONS = CHECKOUT / "docs/operations"
PAYLOAD, PASSWORD, URL, HEADER = "payload-marker", "password-marker", "url-marker", "header-marker"
EVENTS = 3
_FROM_PROMETHEUS = {"job", "instance", "le"}


@dataclass
class Run:
    """A platform: a web server of two processes, a worker with beat, an endpoint; and what must stay secret."""

    server: Server
    client: Client
    receiver: Receiver
    exporter: str
    log: Path
    secrets: set[str] = field(default_factory=lambda: {PAYLOAD, PASSWORD, URL, HEADER})

    def families(self) -> list[Metric]:
        return list(parse(self.client.get("/metrics", Authorization=f"Bearer {TOKEN}").body.decode()))

    def value(self, name: str, **labels: str) -> float:
        answer = self.client.get("/metrics", Authorization=f"Bearer {TOKEN}")
        return samples(answer.body).get((name, frozenset(labels.items())), 0)


@contextmanager
def running(folder: Path) -> Iterator[Run]:
    """Start it all; at the end the workers are killed."""
    log = folder / "log"
    port = str(free_port())
    environment = {
        "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
        "METRICS_TOKEN": TOKEN,
        "METRICS_PORT": port,
        "LOG_FORMAT": "json",
        "LOG_REQUESTS": "all",
        "WEBHOOK_ALLOW_HTTP": "true",
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32",
        # Later than the test ends, and its receiver with it, however slow the machine is.
        "WEBHOOK_RETRY_SCHEDULE": "3600",
    }
    with ExitStack() as stack:
        written = stack.enter_context(log.open("ab"))
        stack.enter_context(working(folder, written, environment))
        server = stack.enter_context(serve(log=written, **environment))  # type: ignore[arg-type] # all are strings
        sender = make_sender(server.base_url)
        stack.callback(sender.client.close)
        receiver = stack.enter_context(receiving())
        run = Run(server, sender.client, receiver, f"http://127.0.0.1:{port}", log)
        assert sender.client.key is not None
        run.secrets.add(sender.client.key)
        yield run


@contextmanager
def working(folder: Path, log: IO[bytes], environment: dict[str, str]) -> Iterator[None]:
    command = [
        sys.executable,
        "-W",
        "ignore:You're running the worker",
        "-m",
        "celery",
        "-A",
        "events_platform",
        "--quiet",
        "worker",
        "-B",
    ]
    options = ["-s", str(folder / "beat"), "--queues=events,deliveries", "--concurrency=1", "--loglevel=WARNING"]
    process = subprocess.Popen(
        [*command, *options, "--without-gossip", "--without-mingle"],
        cwd=CHECKOUT,
        env={**os.environ, **environment, "DATABASE_URL": test_database_url()},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def work(run: Run) -> None:
    """Good and bad of all kinds."""
    post = run.client.post
    for path in (f"/hook?token={URL}", f"/status/503?token={URL}"):
        made = post(
            "/api/v1/subscriptions",
            {"kind": "webhook", "url": run.receiver.url + path, "event_types": ["*"], "headers": {"X-Token": HEADER}},
        )
        assert made.status == 201, made.body
        run.secrets.add(made.json()["secret"])
    for number in range(EVENTS):
        event = {"type": "invoice.paid", "data": {"card": PAYLOAD}, "idempotency_key": str(number)}
        assert [post("/api/v1/events", event).status, post("/api/v1/events", event).status] == [202, 200]
    assert post("/api/v1/events", b'{"type": "a", "data": "' + PAYLOAD.encode()).status == 400
    assert post("/api/v1/events", {"type": "a", "data": 1, PAYLOAD: 1}).status == 422
    wrong = generate_key("live")
    run.secrets.add(wrong)
    assert post("/api/v1/events", {"type": "a", "data": PAYLOAD}, Authorization=f"Bearer {wrong}").status == 401
    issued = post("/api/v1/api-keys", {"name": "CI", "scopes": ["events:write"]})
    assert issued.status == 201, issued.body
    run.secrets.add(issued.json()["key"])
    sign_in_wrongly(run.client)
    break_a_view(run.client)


def sign_in_wrongly(client: Client) -> None:
    page = client.get("/console/sign-in/")
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.body.decode())
    assert found
    form = f"csrfmiddlewaretoken={found[1]}&username=nobody&password={PASSWORD}".encode()
    cookie = page.headers["set-cookie"].partition(";")[0]
    content_type = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/console/sign-in/", form, Cookie=cookie, **content_type).status == 200


def break_a_view(client: Client) -> None:
    """An error of PostgreSQL that nobody foresaw."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE organizations_organization RENAME COLUMN slug TO gone")
        try:
            assert client.get("/api/v1/organization").status == 500
        finally:
            cursor.execute("ALTER TABLE organizations_organization RENAME COLUMN gone TO slug")


@pytest.mark.django_db(transaction=True)
def test_a_platform_at_work_is_counted_and_told_of_without_its_secrets(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        work(run)
        run.receiver.wait_for(2 * EVENTS)
        check_counts(run)
        check_names(run.families())
        check_a_killed_process(run, tmp_path / "metrics")
        check_the_exporter(run)
    check_the_log(run)


def check_counts(run: Run) -> None:
    """Each process writes within a second or so."""
    expected = [
        ("events_intake_events_total", {"outcome": "accepted", "code": ""}, EVENTS),
        ("events_intake_events_total", {"outcome": "duplicate", "code": ""}, EVENTS),
        ("events_intake_events_total", {"outcome": "rejected", "code": "malformed_json"}, 1),
        ("events_intake_events_total", {"outcome": "rejected", "code": "validation_failed"}, 1),
        ("events_http_requests_total", {"route": "/api/v1/events", "method": "POST", "status": "401"}, 1),
        ("events_http_requests_total", {"route": "/api/v1/organization", "method": "GET", "status": "500"}, 1),
        ("events_intake_flush_events_sum", {}, 2 * EVENTS),
        ("events_processing_events_total", {}, EVENTS),
        ("events_deliveries_created_total", {}, 2 * EVENTS),  # to both webhooks; nobody reads the inbox
        ("events_delivery_attempts_total", {"outcome": "delivered"}, EVENTS),
        ("events_delivery_attempts_total", {"outcome": "http_error"}, EVENTS),
        ("events_processes", {"role": "web"}, 2),
        ("events_processes", {"role": "worker"}, 1),
        ("events_processes", {"role": "beat"}, 1),
        ("events_subscriptions", {"kind": "webhook", "status": "active"}, 2),
    ]
    for name, labels, value in expected:
        wait_until(lambda: run.value(name, **labels) == value)  # noqa: B023 - it is called at once
    wait_until(lambda: run.value("events_beat_heartbeat_timestamp_seconds") > 0)
    assert not [
        one for family in run.families() if family.name == "events_scrape_errors" for one in family.samples if one.value
    ]


def check_a_killed_process(run: Run, folder: Path) -> None:
    """Nothing that it had counted is lost, and its files are not left."""
    labels = {"route": "/api/v1/events", "method": "POST", "status": "202"}
    victim = psutil.Process(run.server.process.pid).children()[0]
    victim.kill()
    wait_until(lambda: not list(folder.glob(f"*_{victim.pid}.db")))
    run.client.close()  # it may have been the victim's
    wait_until(lambda: run.value("events_processes", role="web") == 2)
    # gunicorn takes no signal to stop from a process that has not come so far.
    wait_until(lambda: run.log.read_text().count("Serving requests") == 3)
    assert run.value("events_http_requests_total", **labels) == EVENTS
    assert (folder / "counter_ended.db").exists()


def check_the_exporter(run: Run) -> None:
    client = Client(run.exporter, TOKEN)
    found = samples(client.get("/metrics").body)
    client.close()
    assert found["events_delivery_attempts_total", frozenset({("outcome", "delivered")})] == EVENTS


def check_the_log(run: Run) -> None:
    text = run.log.read_text()
    assert [secret for secret in run.secrets if secret in text] == []
    # All but what Celery says to a terminal when it is stopped.
    said = [line for line in text.splitlines() if line and "Warm shutdown" not in line]
    lines = [json.loads(line) for line in said]
    attempts = [line for line in lines if line["logger"] == "attempts"]
    assert {line["outcome"] for line in attempts} == {"delivered", "http_error"}
    assert all(line["delivery_id"] for line in attempts)
    requests = [line for line in lines if line["logger"] == "requests"]
    assert {200, 201, 202, 400, 401, 422, 500} <= {line["status"] for line in requests}
    fault = next(line for line in requests if line["status"] == 500)
    traces = [line for line in lines if "exception" in line and line.get("request_id") == fault["request_id"]]
    assert traces
    assert fault["organization_id"] == traces[0]["organization_id"]


# What is made of the metrics


def check_names(families: Iterable[Metric]) -> None:
    """Alerts, dashboard and docs name what there is."""
    known: dict[str, set[str]] = {}
    names = set()
    for family in families:
        names.add(family.name + ("_total" if family.type == "counter" else ""))
        for one in family.samples:
            known.setdefault(one.name, set()).update(one.labels)
    documented = re.findall(r"^\| `(events_\w+)`", (OPERATIONS / "monitoring.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(names)
    for expression in [*alert_expressions(), *dashboard_expressions()]:
        check_expression(expression, known)
    for place, text in texts_of_run_books():
        assert set(re.findall(r"\bevents_\w+", text)) <= known.keys() | names, place
        if re.search(r"[({]", text):
            check_expression(text, known)


def texts_of_run_books() -> list[tuple[str, str]]:
    """What the run-books name in backticks, with its place: metrics, and questions to Prometheus."""
    pieces = [piece for piece in pieces_of_pages() if piece.place.startswith("docs/operations/runbooks.md")]
    found = [(piece.place, piece.text) for piece in pieces if "events_" in piece.text]
    assert len(found) > 5
    return found


def check_expression(expression: str, known: dict[str, set[str]]) -> None:
    used = set(re.findall(r"\bevents_\w+", expression))
    assert used <= known.keys(), expression
    for name, selector in re.findall(r"\b(events_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= known[name], expression
    labels = set().union(*(known[name] for name in used))
    for group in re.findall(r"by \(([^)]*)\)", expression):
        assert set(re.split(r",\s*", group)) <= labels | _FROM_PROMETHEUS, expression


def alerts() -> list[dict[str, Any]]:
    rules: dict[str, Any] = yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())
    return [rule for group in rules["groups"] for rule in group["rules"]]


def alert_expressions() -> list[str]:
    return [rule["expr"] for rule in alerts()]


def dashboard() -> dict[str, Any]:
    drawing: dict[str, Any] = json.loads((OBSERVABILITY / "grafana-dashboard.json").read_text())
    return drawing


def dashboard_expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def test_each_alert_has_its_run_book() -> None:
    headings = re.findall(r"^## (\w+)$", (OPERATIONS / "runbooks.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/operations/runbooks.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_dashboard_can_be_imported_anywhere() -> None:
    drawn = dashboard()
    assert [one["name"] for one in drawn["templating"]["list"]] == ["datasource"]
    rows = [panel["title"] for panel in drawn["panels"] if panel["type"] == "row"]
    assert rows == ["Intake", "Processing", "Delivery", "Storage", "Processes"]
    sources = {target["datasource"]["uid"] for panel in drawn["panels"] for target in panel.get("targets", [])}
    assert sources == {"${datasource}"}
    assert len({panel["id"] for panel in drawn["panels"]}) == len(drawn["panels"])


def test_the_example_scrapes_by_token_and_loads_the_rules() -> None:
    example = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())
    assert all((OBSERVABILITY / name).exists() for name in example["rule_files"])
    assert {job["metrics_path"] for job in example["scrape_configs"]} == {"/metrics"}
