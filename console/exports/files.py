"""Events as the lines of a file."""

import csv
import io
from collections.abc import Iterable
from typing import Any

import msgspec

from console.models import ExportFormat
from core.times import format_time
from ingestion.api.presenting import describe_with_status
from ingestion.fields import CONTENT, CONTENT_NAMES
from ingestion.models import Event

COLUMNS = ("id", *CONTENT_NAMES, "received_at", "status", "idempotency_key", "data")
# A spreadsheet takes a cell that starts so for a formula, which can send data away or start programs (OWASP, CSV
# injection). An apostrophe in front makes it text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
CONTENT_TYPES = {ExportFormat.CSV: "text/csv; charset=utf-8", ExportFormat.NDJSON: "application/x-ndjson"}


def file_header(kind: ExportFormat) -> bytes:
    """What comes before the first event."""
    return (",".join(COLUMNS) + "\r\n").encode() if kind is ExportFormat.CSV else b""


def file_lines(kind: ExportFormat, events: Iterable[Event]) -> bytes:
    """The events, which have their data, annotations and status."""
    return _csv_lines(events) if kind is ExportFormat.CSV else b"".join(map(_ndjson_line, events))


def _ndjson_line(event: Event) -> bytes:
    """As the API shows it."""
    return msgspec.json.encode(describe_with_status(event)) + b"\n"


def _csv_lines(events: Iterable[Event]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([cell(value) for value in _values(event)] for event in events)
    return text.getvalue().encode()


def _values(event: Event) -> list[Any]:
    return [
        str(event.pk),
        *(field.show(event) for field in CONTENT),
        format_time(event.received_at),
        event.status,
        event.idempotency_key,
        event.data,
    ]


def cell(value: Any) -> str:
    """As text that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
