"""Traces: from a request over its processing to the webhook, with OpenTelemetry and without."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from core import tracing
from core.ports.asynchronous import SingleDatabase
from core.secrets import encrypt_secret
from core.tracing import TraceContext, read_context
from delivery.models import Subscription, SubscriptionKind, SubscriptionStatus
from delivery.webhooks.sender import Sender
from delivery.webhooks.sending import WebhookSender
from delivery.webhooks.signing import generate_secret
from delivery.webhooks.webhook_requests import build_request
from ingestion.models import Event
from ingestion.operations import process_outbox
from observability import tracing as opentelemetry_tracing
from observability.tracing import OpenTelemetryTracer, make_provider, start_tracing
from organizations.models import Organization
from tests.conftest import Tenant, make_tenant
from tests.support.http.clients import make_sender
from tests.support.http.receiver import Receiver, receiving
from tests.support.servers import serve

committed = pytest.mark.django_db(transaction=True)
SECRET = generate_secret()
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
# Not so short that the random digits of a span's ids hold it.
CARD = "4111-1111-1111-1111"
EVENT = {"type": "invoice.paid", "data": {"card": CARD}}


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What this process records."""
    exporter, provider = InMemorySpanExporter(), make_provider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.install(OpenTelemetryTracer(provider))
    yield exporter
    tracing.install(None)
    provider.shutdown()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(SECRET) as running:
        yield running


@pytest.fixture
def sender() -> Tenant:
    return make_tenant()


def subscribe(organization: Organization, url: str, **headers: str) -> None:
    Subscription.objects.create(
        organization=organization,
        kind=SubscriptionKind.WEBHOOK,
        url=url,
        secret=encrypt_secret(SECRET),
        headers=headers,
        event_types=["*"],
        status=SubscriptionStatus.ACTIVE,
    )


def deliver() -> None:
    async def run() -> None:
        database = SingleDatabase()
        async with WebhookSender.from_settings() as webhooks:
            await Sender(database, webhooks).run()
            await database.close()

    process_outbox()
    asyncio.run(run())


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def parent_of(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent else None


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


@committed
@pytest.mark.parametrize("given_headers", [{"traceparent": TRACEPARENT, "tracestate": "shop=1"}, {}])
def test_a_trace_leads_from_the_request_to_the_webhook(
    spans: InMemorySpanExporter, sender: Tenant, receiver: Receiver, given_headers: dict[str, str]
) -> None:
    subscribe(sender.organization, f"{receiver.url}/ok")
    event_id = sender.post("/api/v1/events", EVENT, **given_headers).json()["id"]
    deliver()
    request, processing, attempt = spans.get_finished_spans()
    trace = trace_of(request)
    assert [(span.name, span.kind) for span in (request, processing, attempt)] == [
        ("POST /api/v1/events", SpanKind.SERVER),
        ("process events", SpanKind.CONSUMER),
        ("send webhook", SpanKind.CLIENT),
    ]
    if given_headers:
        assert (trace, parent_of(request)) == (TRACE, "00f067aa0ba902b7")
    else:
        assert parent_of(request) is None
    (link,) = processing.links
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == (trace, id_of(request))
    assert (trace_of(attempt), parent_of(attempt)) == (trace, id_of(request))
    (webhook,) = receiver.received
    assert webhook.headers["traceparent"][:-3] == f"00-{trace}-{id_of(attempt)}"
    assert webhook.headers.get("tracestate") == given_headers.get("tracestate")
    for span in (request, attempt):
        assert span.attributes is not None
        assert span.attributes["http.response.status_code"] in (200, 202)
        assert span.attributes["event.id"] == event_id
        assert span.attributes["organization.id"] == str(sender.organization.pk)
    everything = " ".join(span.to_json() for span in (request, processing, attempt))
    assert not [secret for secret in (sender.plaintext, SECRET, CARD, "/ok") if secret in everything]


@committed
def test_an_event_of_a_batch_has_its_requests_trace(spans: InMemorySpanExporter, sender: Tenant) -> None:
    sender.post("/api/v1/events/batch", [EVENT, EVENT], traceparent=TRACEPARENT)
    process_outbox()
    request, processing = spans.get_finished_spans()
    assert request.name == "POST /api/v1/events/batch"
    assert [f"{link.context.trace_id:032x}" for link in processing.links] == [TRACE]  # both events have this place
    assert processing.attributes == {"messaging.batch.message_count": 2}


@committed
def test_failures_are_marked(spans: InMemorySpanExporter, sender: Tenant, receiver: Receiver) -> None:
    subscribe(sender.organization, f"{receiver.url}/status/503")
    assert sender.post("/api/v1/events", {"type": "a b"}).status_code == 422
    sender.post("/api/v1/events", EVENT)
    deliver()
    refused, _, _, attempt = spans.get_finished_spans()
    assert refused.attributes is not None
    assert refused.attributes["http.response.status_code"] == 422
    assert refused.status.status_code is StatusCode.UNSET  # it is the client's failure
    assert attempt.attributes is not None
    assert (attempt.attributes["http.response.status_code"], attempt.attributes["error.type"]) == (503, "http_error")
    assert attempt.status.status_code is StatusCode.ERROR


@committed
def test_without_opentelemetry_the_context_is_sent_on(sender: Tenant, receiver: Receiver) -> None:
    subscribe(sender.organization, f"{receiver.url}/ok")
    for headers in (
        {"traceparent": TRACEPARENT, "tracestate": "shop=1"},
        {"traceparent": TRACEPARENT.upper()},
        {"tracestate": "shop=1"},
    ):
        sender.post("/api/v1/events", {"type": "a", "data": len(headers)}, **headers)
    deliver()
    sent = [
        (request.headers["traceparent"], request.headers.get("tracestate"))
        for request in receiver.received
        if "traceparent" in request.headers
    ]
    assert sent == [(TRACEPARENT, "shop=1")]
    assert not [request for request in receiver.received if len(request.headers.keys() & {"tracestate"}) > len(sent)]
    assert not any('"traceparent": "00' in (event.annotations or "")[:20] for event in Event.objects.all())


def test_a_subscriptions_own_trace_is_left_alone() -> None:
    values: dict[str, Any] = {"url": "https://a.example", "secrets": [b"x" * 24], "event_type": "a", "data": "1"}
    event = Event(id="019ac000-0000-7000-8000-000000000000")
    request = build_request(
        **values,
        headers={"Traceparent": "mine"},
        event_id=event.pk,
        received_at=NOW,
        now=NOW,
        context=TraceContext(TRACEPARENT, "shop=1"),
    )
    assert [name for name in request.headers if name.lower().startswith("trace")] == ["Traceparent"]


@pytest.mark.parametrize(
    ("given_value", "read"),
    [
        (TRACEPARENT, TRACEPARENT),
        (f"01-{TRACE}-00f067aa0ba902b7-00-more", f"00-{TRACE}-00f067aa0ba902b7-00"),
        (None, None),
        ("", None),
        (TRACEPARENT + "-more", None),
        (TRACEPARENT + "\n", None),
        (f"{TRACEPARENT},{TRACEPARENT}", None),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (TRACEPARENT.upper(), None),
    ],
)
def test_only_a_valid_traceparent_is_read(given_value: str | None, read: str | None) -> None:
    context = read_context(given_value, "shop=1\nx")
    assert context == (TraceContext(read) if read else None)


@examples(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.text(max_size=80), st.text(max_size=600))
def test_whatever_comes_is_fit_to_be_sent(traceparent: str, tracestate: str) -> None:
    assert read_context(traceparent, tracestate) is None
    context = read_context(TRACEPARENT, tracestate)
    assert context is not None
    assert "".join(context.headers().values()).isprintable()
    assert "".join(context.headers().values()).isascii()


def test_traces_that_are_set_up_without_opentelemetry_are_told_of(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.OTEL_TRACES_EXPORTER = "otlp"
    monkeypatch.setattr(opentelemetry_tracing, "INSTALLED", False)
    start_tracing()
    assert "not installed" in caplog.text
    with tracing.request_span("/x", {}) as span:
        assert span is None


def test_the_platform_starts_without_opentelemetry() -> None:
    """As on a machine where only requirements.txt is installed."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import django; django.setup()\n"
        "from events_platform import asgi\n"
        "from observability import tracing; tracing.start_tracing(); print(tracing.INSTALLED)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False"]


class _Collector(BaseHTTPRequestHandler):
    """Takes spans by OTLP over HTTP."""

    received: list[tuple[str, ExportTraceServiceRequest]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        message = ExportTraceServiceRequest.FromString(body)
        self.received.append((self.path, message))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@committed
def test_a_server_that_stops_sends_its_spans() -> None:
    _Collector.received.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        with serve("asgi", workers=1, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="60000") as web:
            answer = make_sender(web.base_url).client.post("/api/v1/events", EVENT, traceparent=TRACEPARENT)
        server.shutdown()
    ((path, message),) = _Collector.received
    (resource,) = message.resource_spans
    (span,) = resource.scope_spans[0].spans
    assert path == "/v1/traces"
    assert (span.name, span.trace_id.hex()) == ("POST /api/v1/events", TRACE)
    names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    assert names["service.name"] == "events-platform"
    with connection.cursor() as cursor:
        cursor.execute("SELECT annotations FROM ingestion_event WHERE id = %s", [answer.json()["id"]])
        assert json.loads(cursor.fetchone()[0])["traceparent"][:-3] == f"00-{TRACE}-{span.span_id.hex()}"
