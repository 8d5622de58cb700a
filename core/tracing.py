"""Traces: the W3C trace context (https://www.w3.org/TR/trace-context/), and the port to whatever records spans.

Nothing records them unless a process calls `install`, as `observability.tracing` does when traces are set up. Until
then `span` does nothing, and gives None in place of a span.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple, Protocol

Value = str | int
SpanSide = Literal["server", "consumer", "client"]

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# Whoever reads it ignores members that are wrong; here it only must be fit to be sent on.
_TRACESTATE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,510}[\x21-\x7e])?")


class TraceContext(NamedTuple):
    """A place in a trace; `traceparent` is valid, `tracestate` may be empty."""

    traceparent: str
    tracestate: str = ""

    def headers(self) -> dict[str, str]:
        """To send on."""
        return {name: value for name, value in self._asdict().items() if value}


class Span(Protocol):
    """A span that runs."""

    @property
    def context(self) -> TraceContext | None:
        """Its place in the trace; None when recording is switched off within the tracer."""
        ...

    def note(self, name: str, value: Value) -> None:
        """Add an attribute: never data, keys, or whole URLs."""
        ...

    def fail(self, error: str) -> None:
        """What it stands for has failed, with an error of this kind."""
        ...


class Tracer(Protocol):
    """Starts spans; each ends with its `with` block."""

    def span(
        self,
        name: str,
        *,
        kind: SpanSide,
        parent: TraceContext | None,
        links: Iterable[TraceContext],
        attributes: Mapping[str, Value],
    ) -> AbstractContextManager[Span]: ...


_tracer: Tracer | None = None
_NO_SPAN: AbstractContextManager[None] = nullcontext()


def install(tracer: Tracer | None) -> None:
    """From now on this process records spans; None ends it."""
    global _tracer  # noqa: PLW0603 - the process has one
    _tracer = tracer


def request_span(route: str, headers: Mapping[str, str]) -> AbstractContextManager[Span | None]:
    """A request that is answered, which continues its client's trace. `headers` have names in lower case."""
    if _tracer is None:
        return _NO_SPAN
    parent = read_context(headers.get("traceparent"), headers.get("tracestate"))
    attributes = {"http.request.method": "POST", "http.route": route}
    return _tracer.span(f"POST {route}", kind="server", parent=parent, links=(), attributes=attributes)


def batch_span(
    name: str, *, count: int, contexts: Callable[[], Iterable[TraceContext]]
) -> AbstractContextManager[Span | None]:
    """Work on many events at once, linked to the traces of some of them; `contexts` is only asked if it is recorded."""
    if _tracer is None:
        return _NO_SPAN
    attributes = {"messaging.batch.message_count": count}
    return _tracer.span(name, kind="consumer", parent=None, links=contexts(), attributes=attributes)


def sending_span(
    name: str, *, parent: TraceContext | None, attributes: Callable[[], Mapping[str, Value]]
) -> AbstractContextManager[Span | None]:
    """A request to another server."""
    if _tracer is None:
        return _NO_SPAN
    return _tracer.span(name, kind="client", parent=parent, links=(), attributes=attributes())


def read_context(traceparent: str | None, tracestate: str | None) -> TraceContext | None:
    """None unless `traceparent` is valid; of a version that is not known yet, what the known one has."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    state = tracestate if tracestate and _TRACESTATE.fullmatch(tracestate) else ""
    return TraceContext(f"00-{trace_id}-{span_id}-{flags}", state)
