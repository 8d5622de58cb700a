"""The audit log as the lines of a file, a chunk for each portion."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from console.audit import wording
from console.exports.files import cell
from core.times import format_time
from organizations.models import AuditEntry

COLUMNS = ("id", "time", "actor_kind", "actor", "action", "target_kind", "target_id", "target", "changes", "address",
           "user_agent")  # fmt: skip


def csv_chunks(portions: Iterable[list[AuditEntry]]) -> Iterator[bytes]:
    """With the changes in words."""
    yield (",".join(COLUMNS) + "\r\n").encode()
    for entries in portions:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([cell(value) for value in _members(each, _words(each)).values()] for each in entries)
        if entries:
            yield text.getvalue().encode()


def ndjson_chunks(portions: Iterable[list[AuditEntry]]) -> Iterator[bytes]:
    """With the changes as they are stored."""
    for entries in portions:
        if entries:
            yield b"".join(msgspec.json.encode(_members(each, each.changes)) + b"\n" for each in entries)


def _members(entry: AuditEntry, changes: Any) -> dict[str, Any]:
    values = (
        str(entry.pk), format_time(entry.created_at), entry.actor_kind, entry.actor_label, entry.action,
        entry.target_kind, entry.target_id, entry.target_label, changes, entry.address, entry.user_agent,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _words(entry: AuditEntry) -> str:
    told = wording.changes_of(entry)
    return "; ".join(
        f"{name}: {before}" if after is None else f"{name}: {before} → {after}" for name, before, after in told
    )
