"""Batches of events: a JSON document or one event a line. A bad event is a Problem in its place. Pure.

All events are decoded at once and the body is scanned once for what the rules forbid. Only if something is wrong
or looks so, each event is decoded by itself, which finds out what is wrong where.

It is done in steps, each of some 16 KiB, so that others can have their turn between them.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, structs

from core.decoding import decode_with
from core.problems import Problem, invalid
from ingestion.formats.decoding import (
    MAX_BODY_BYTES,
    MAX_DATA_BYTES,
    DecodedEvent,
    EventBody,
    check_data,
    checked_event,
    count_quotes,
    decode_body,
    decode_event,
    may_hold_large_number,
    repeated_member,
    require_utf8_bytes,
)
from ingestion.formats.json_depth import MAX_DEPTH

MAX_BATCH_EVENTS = 1000
MAX_BATCH_BODY_BYTES = 5 * 1024 * 1024
# Empty lines count too: they are not free to skip.
MAX_LINES = 10 * MAX_BATCH_EVENTS

T = TypeVar("T")
Results = list[DecodedEvent | Problem]
ItemDecoder = Callable[[bytes], DecodedEvent]
# Its value is the result.
Steps = Generator[None, None, Results]
STEP_BYTES = 16 * 1024
# What an event costs at least is as much as some hundred bytes of a large one; a bad one costs more.
_EVENT_BYTES, _BAD_EVENT_BYTES = 200, 1_000


def _array_of(item: Any) -> type[Struct]:
    """A JSON array of up to MAX_BATCH_EVENTS items.

    Unlike for `list[item]`, the decoder stops at the first item too many: 5 MiB of `1,` would take 170 MB otherwise.
    """
    fields = [(f"item_{number}", item | UnsetType, UNSET) for number in range(MAX_BATCH_EVENTS)]
    return msgspec.defstruct("Items", fields, array_like=True, forbid_unknown_fields=True, gc=False)


def _envelope_of(items: type[Struct]) -> type[Struct]:
    return msgspec.defstruct("Envelope", [("events", items)], forbid_unknown_fields=True, gc=False)


_EVENTS, _RAWS = _array_of(EventBody), _array_of(Raw)
_decode_array = msgspec.json.Decoder(_EVENTS).decode
_decode_raw_array = msgspec.json.Decoder(_RAWS).decode
_decode_envelope = msgspec.json.Decoder(_envelope_of(_EVENTS)).decode
_decode_raw_envelope = msgspec.json.Decoder(_envelope_of(_RAWS)).decode


def decode_json_batch(body: bytes) -> Steps:
    """The events of `{"events": […]}` or of an array. Raises Problem 400, 413 or 422 for the batch as a whole."""
    require_utf8_bytes(body)
    yield
    in_object = body.lstrip(b" \t\r\n")[:1] != b"["
    try:
        found = _decode_envelope(body).events if in_object else _decode_array(body)  # type: ignore[attr-defined]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        yield
    else:
        yield
        # Beside the events, the envelope has the two quotes of its one name.
        events = yield from _events_at_once(_items(found), body, 2 if in_object else 0)
        if events:
            return events
    return (yield from _each((yield from _split(body, in_object=in_object)), decode_event))


def decode_array(body: bytes, decoder: ItemDecoder) -> Steps:
    """The events of an array whose items `decoder` decodes. Raises Problem 400, 413 or 422 for the whole."""
    require_utf8_bytes(body)
    yield
    return (yield from _each((yield from _split(body, in_object=False)), decoder))


def decode_lines(body: bytes) -> Steps:
    """The events of NDJSON. Raises Problem 413 or 422 for the batch as a whole."""
    if body.count(b"\n") > MAX_LINES:
        raise Problem("payload_too_large", f"A batch has at most {MAX_LINES} lines.")
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    _check_count(len(lines), "")
    events: Results | None = None
    try:
        require_utf8_bytes(body)
        yield
        found = yield from _bodies(lines)
    except (Problem, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        yield
    else:
        events = yield from _events_at_once(found, body, 0)
    return events or (yield from _each(lines, decode_event))


def _bodies(lines: Sequence[bytes]) -> Generator[None, None, list[EventBody]]:
    """Raises what the decoder does at the first line that is no event."""
    bodies: list[EventBody] = []
    done = 0
    for line in lines:
        done += len(line) + _EVENT_BYTES
        if done > STEP_BYTES:
            done = 0
            yield
        bodies.append(decode_body(line))
    return bodies


def _events_at_once(found: Sequence[EventBody], body: bytes, quotes: int) -> Generator[None, None, Results | None]:
    """The checked events, or None if any might break a rule; `quotes` are those of the body beside the events."""
    unseen = body.count(b'"') - quotes
    events: Results = []
    for part, raws in _parts(found):
        yield
        text = b"".join(raws)
        if b"\\u0000" in text or max(map(len, raws)) > MAX_DATA_BYTES:
            return None
        unseen -= sum(map(count_quotes, part)) + text.count(b'"')
        each = may_hold_large_number(text)  # so do hexadecimal digits, thus this is no reason to decode all again
        try:
            for event, raw in zip(part, raws, strict=True):
                is_simple = not each and raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH
                events.append(checked_event(event, raw, has_wide_numbers=not is_simple and check_data(raw)))
        except Problem:
            return None
    return None if unseen else events


def _parts(found: Sequence[EventBody]) -> Iterator[tuple[list[EventBody], list[bytes]]]:
    """Events and the JSON texts of their data, a step's worth at a time.

    What is looked at in one go stays small: splitting 5 MiB of short numbers took 0.3 s and 100 MB.
    """
    part: list[EventBody] = []
    raws: list[bytes] = []
    size = 0
    for event in found:
        raw = bytes(event.data)
        part.append(event)
        raws.append(raw)
        size += len(raw) + _EVENT_BYTES
        if size > STEP_BYTES:
            yield part, raws
            part, raws, size = [], [], 0
    if part:
        yield part, raws


def _split(body: bytes, *, in_object: bool) -> Generator[None, None, list[bytes]]:
    """The JSON texts of the items, none of them parsed."""
    decoder = _decode_raw_envelope if in_object else _decode_raw_array
    pointer = "/events" if in_object else ""
    try:
        found = decode_with(decoder, body)
    except Problem as problem:
        if any(error.detail.startswith("Expected `array` of at most") for error in problem.errors):
            _check_count(MAX_BATCH_EVENTS + 1, pointer)
        raise
    yield
    items = [bytes(item) for item in _items(found.events if in_object else found)]  # type: ignore[attr-defined]
    # Its one member can come again, and nothing else is beside the items.
    if in_object and body.count(b'"') != 2 + sum(item.count(b'"') for item in items):
        raise repeated_member("events")
    _check_count(len(items), pointer)
    return items


def _items(found: Any) -> list[Any]:
    return [item for item in structs.astuple(found) if item is not UNSET]


def _check_count(count: int, pointer: str) -> None:
    if count > MAX_BATCH_EVENTS:
        raise Problem("payload_too_large", f"A batch has at most {MAX_BATCH_EVENTS} events.")
    if not count:
        raise invalid(pointer or "/events", "required", "A batch has at least one event.")


def _each(items: Sequence[bytes], decoder: ItemDecoder) -> Steps:
    results: Results = []
    done = 0
    for item in items:
        done += len(item)
        if done > STEP_BYTES:
            done = len(item)
            yield
        try:
            if len(item) > MAX_BODY_BYTES:
                raise Problem("payload_too_large", f"The event is over {MAX_BODY_BYTES} bytes.")  # noqa: TRY301
            results.append(decoder(item))
            done += _EVENT_BYTES
        except Problem as problem:
            results.append(problem.with_traceback(None))  # which would keep the whole body alive in a cycle
            done += _BAD_EVENT_BYTES
    return results
