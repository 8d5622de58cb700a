"""Spans by OpenTelemetry (docs/traces.md): an extra that need not be installed.

Each process starts it after its fork, since the thread that sends the spans does not survive one.
"""

import logging
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from django.conf import settings

from core import tracing
from core.problems import Problem
from core.tracing import SpanSide, TraceContext, Value

try:
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
    from opentelemetry.trace import Span as OpenTelemetrySpan
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    INSTALLED = False
else:
    INSTALLED = True

logger = logging.getLogger(__name__)
_provider: "TracerProvider | None" = None


def start_tracing() -> None:
    """Record spans from now on, if the settings say so and OpenTelemetry is installed."""
    global _provider  # noqa: PLW0603 - the process has one
    if settings.OTEL_TRACES_EXPORTER == "none":
        return
    if not INSTALLED:
        logger.warning("traces are set up, but OpenTelemetry is not installed (requirements-otel.txt)")
        return
    _provider = make_provider()
    console = settings.OTEL_TRACES_EXPORTER == "console"
    exporter = ConsoleSpanExporter() if console else OTLPSpanExporter(timeout=settings.OTEL_EXPORTER_OTLP_TIMEOUT)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    tracing.install(OpenTelemetryTracer(_provider))


def stop_tracing() -> None:
    """Send what is still held. For processes that end without Python's own end."""
    tracing.install(None)
    if _provider is not None:
        _provider.shutdown()


def make_provider() -> "TracerProvider":
    """As OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and OTEL_TRACES_SAMPLER say; Python's end flushes it."""
    named = SERVICE_NAME in OTELResourceDetector().detect().attributes
    return TracerProvider(resource=Resource.create({} if named else {SERVICE_NAME: "events-platform"}))


class OpenTelemetryTracer:
    """The port's tracer. It never looks at a current span: whoever starts one says what it belongs to."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._tracer = provider.get_tracer("events_platform")

    def span(
        self,
        name: str,
        *,
        kind: SpanSide,
        parent: TraceContext | None,
        links: Iterable[TraceContext],
        attributes: Mapping[str, Value],
    ) -> "_Span":
        return _Span(
            self._tracer.start_span(
                name,
                context=_extract(parent) if parent else Context(),
                kind=SpanKind[kind.upper()],
                attributes=attributes,
                links=[Link(get_current_span(_extract(link)).get_span_context()) for link in links],
            )
        )


class _Span:
    """An error ends it as failed, unless it is a Problem of the client's making."""

    def __init__(self, span: "OpenTelemetrySpan") -> None:
        self._span = span

    @property
    def context(self) -> TraceContext | None:
        fields: dict[str, str] = {}
        _propagator.inject(fields, set_span_in_context(self._span, Context()))
        return TraceContext(fields["traceparent"], fields.get("tracestate", "")) if fields else None

    def note(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)

    def fail(self, error: str) -> None:
        self._span.set_attribute("error.type", error)
        self._span.set_status(Status(StatusCode.ERROR))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        problem = error if isinstance(error, Problem) else None
        if problem is not None:
            self._span.set_attribute("http.response.status_code", problem.status_code)
        if kind is not None and (problem is None or problem.status_code >= 500):
            # Its kind alone: a message may quote what belongs to a tenant.
            self.fail(problem.problem_type.code if problem else kind.__name__)
        self._span.end()


def _extract(context: TraceContext) -> "Context":
    return _propagator.extract(context.headers(), context=Context())


if INSTALLED:
    _propagator = TraceContextTextMapPropagator()
