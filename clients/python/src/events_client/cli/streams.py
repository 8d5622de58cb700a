"""Streams of events, one JSON object a line: in batches, with flat memory, to be gone on with after a stop.

Each line without an idempotency key gets one of the run and the line's number. A run that goes on has the same keys,
so what was sent and not noted is sent again and counts once.
"""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from events_client.batches import MAX_BATCH_BYTES, batch_call
from events_client.cli.output import REFUSED, err, note, show
from events_client.cli.profiles import state_folder
from events_client.client import Client
from events_client.errors import ConfigurationError, EventsClientError

BATCH_EVENTS = 500
# Data has at most 256 KiB; what is longer is no event, and is not read into memory.
MAX_LINE_BYTES = 1024 * 1024
_SHOWN_REFUSALS = 20


class Run(msgspec.Struct):
    """How far a file was sent: `offset` in bytes, `lines` read. `size` tells whether it is still the same file."""

    run: str
    size: int = 0
    offset: int = 0
    lines: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0


class _Line(msgspec.Struct):
    idempotency_key: str | None = None


@dataclass
class _Batch:
    """Events with the numbers of their lines, what was refused on the way to them, and where the file goes on."""

    lines: int
    offset: int
    events: list[tuple[int, bytes]] = field(default_factory=list)
    size: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


def send_stream(client: Client, source: str, *, resume: bool, restart: bool, json: bool) -> None:
    """Send all lines of a file, or of standard input (`-`). Ends with status 1 when some were refused."""
    kept = None if source == "-" else _state_file(client, source)
    run = _begin(kept, source, resume=resume, restart=restart)
    if kept:
        # Before the first batch, or one that is killed while it is on its way would be sent again under other keys.
        _keep(kept, run)
    try:
        with _opened(source) as stream, _progress(run, source) as progress:
            if run.offset:
                stream.seek(run.offset)
                note(f"evp: going on after line {run.lines:,}")
            for batch in _batches(stream, run, _batch_events(client)):
                _send(client, batch, run)
                if kept:
                    _keep(kept, run)
                progress.update(progress.task_ids[0], completed=run.offset, description=_read(run))
    except (KeyboardInterrupt, EventsClientError):
        if kept:
            _keep(kept, run)
            note(f"evp: stopped after line {run.lines:,}; --resume goes on there")
        raise
    if kept:
        kept.unlink(missing_ok=True)
    text = f"{run.lines:,} lines: {run.accepted:,} accepted, {run.duplicates:,} there already, {run.refused:,} refused"
    told = {"lines": run.lines, "accepted": run.accepted, "duplicates": run.duplicates, "refused": run.refused}
    show(told, json=json, text=text)
    if run.refused:
        raise typer.Exit(REFUSED)


def _begin(kept: Path | None, source: str, *, resume: bool, restart: bool) -> Run:
    new = Run(uuid.uuid4().hex, 0 if source == "-" or not os.path.isfile(source) else os.path.getsize(source))
    if kept is None:
        if resume:
            raise ConfigurationError("standard input cannot be gone on with: only a file can")
        return new
    if restart or not kept.exists():
        return new
    before = msgspec.json.decode(kept.read_bytes(), type=Run)
    if before.size > new.size:
        raise ConfigurationError(f"{source} is shorter than when it was sent: --restart sends it from its begin")
    if not resume:
        raise ConfigurationError(
            f"{source} was sent up to line {before.lines:,}: --resume goes on there, --restart sends all of it again"
        )
    before.size = new.size
    return before


def _batch_events(client: Client) -> int:
    """A batch over what the plan allows in a minute would be refused for ever."""
    allowed = client.organization().limits.get("events_per_minute")
    return max(1, min(BATCH_EVENTS, allowed)) if isinstance(allowed, int) else BATCH_EVENTS


def _batches(stream: BinaryIO, run: Run, most: int) -> Iterator[_Batch]:
    batch = _Batch(run.lines, run.offset)
    while line := stream.readline(MAX_LINE_BYTES):
        batch.lines += 1
        batch.offset += len(line)
        _add(batch, line.strip(), run)
        if len(batch.events) + len(batch.refused) == most or batch.size > MAX_BATCH_BYTES - MAX_LINE_BYTES:
            yield batch
            batch = _Batch(batch.lines, batch.offset)
    yield batch


def _add(batch: _Batch, text: bytes, run: Run) -> None:
    if not text:
        return
    try:
        key = msgspec.json.decode(text, type=_Line).idempotency_key
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        batch.refused.append((batch.lines, f"malformed_json: {error}"))
        return
    if key is None:
        inner = text[1:].lstrip()
        comma = b"" if inner == b"}" else b","
        text = b'{"idempotency_key":"evp-%b-%d"%b%b' % (run.run.encode(), batch.lines, comma, inner)
    batch.events.append((batch.lines, text))
    batch.size += len(text)


def _send(client: Client, batch: _Batch, run: Run) -> None:
    """All that `run` counts of a batch it counts at once, behind its answer: a stop leaves none of it half told."""
    refused = batch.refused
    if batch.events:
        outcome = client.call(batch_call(event for _, event in batch.events))
        run.accepted += outcome.accepted
        run.duplicates += outcome.duplicates
        failed = [(batch.events[each.index][0], str(each.error)) for each in outcome.results if each.error is not None]
        refused = sorted(refused + failed)
    for number, why in refused:
        _refuse(run, number, why)
    run.lines, run.offset = batch.lines, batch.offset


def _refuse(run: Run, number: int, why: str) -> None:
    run.refused += 1
    if run.refused <= _SHOWN_REFUSALS:
        sys.stderr.write(f"evp: line {number}: {why}\n")
    elif run.refused == _SHOWN_REFUSALS + 1:
        sys.stderr.write("evp: further refused lines are only counted\n")


def _state_file(client: Client, source: str) -> Path:
    """One for each file and platform."""
    named = hashlib.sha256(f"{client.settings.base_url}\0{Path(source).resolve()}".encode()).hexdigest()
    return state_folder() / f"send-{named[:24]}.json"


def _keep(kept: Path, run: Run) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".new")
    partial.write_bytes(msgspec.json.encode(run))
    partial.replace(kept)


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    if source == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ConfigurationError(f"{source} cannot be read: {error.strerror}") from error
    with file:
        yield file


@contextmanager
def _progress(run: Run, source: str) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        progress.add_task(_read(run), total=None if source == "-" else run.size, completed=run.offset)
        yield progress


def _read(run: Run) -> str:
    return f"{run.lines:,} lines"
