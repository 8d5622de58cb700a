"""Bytes of a request → one event, checked. Pure: no database, no Django models.

`data` stays the JSON text that was sent, on one line: it is checked, never parsed.
"""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from math import isinf
from operator import attrgetter
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, structs

from core.decoding import NUMBER_SHAPE, decode_with, parse, without_strings
from core.field_errors import cut, pointer_to, text_like
from core.problems import Problem, invalid
from core.times import format_time
from ingestion.fields import CONTENT, MAX_REFERENCE
from ingestion.formats.json_depth import MAX_DEPTH
from ingestion.formats.request_headers import header_text

MAX_DATA_BYTES = 256 * 1024
MAX_BODY_BYTES = MAX_DATA_BYTES + 16 * 1024
# Longer literals and exponents beyond these grow a thousandfold when jsonb prints them, or are too much for it.
MAX_JSONB_NUMBER_LENGTH = 400
MAX_JSONB_EXPONENT = 308
# The platform's notices about an organization have these, so no tenant can mute or forge one.
PLATFORM_SOURCE = "/platform"
PLATFORM_KEYS = ("op:", "op-mail:")

Text = Annotated[str, Meta(min_length=1, max_length=255)]
Reference = Annotated[str, Meta(min_length=1, max_length=MAX_REFERENCE)]
TypeName = Annotated[str, text_like(r"\A[A-Za-z0-9._\-/]{1,255}\Z", "1 to 255 of A-Za-z0-9._-/")]
Time = Annotated[datetime, Meta(tz=True)]
Delay = Annotated[float, Meta(ge=0)]
_DELIVER_AT = Meta(
    description="When the event is to be handed on, at most 30 days ahead (a setting); at once when that is past."
)
_DELAY = Meta(description="The same, as seconds from its acceptance on. Takes no `deliver_at` beside it.")

_NUMBERS = re.compile(rb"-?[0-9][0-9.eE+-]*")
_LONG_EXPONENTS = re.compile(rb"[eE][+-]?([0-9]{3,})")
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_ONE_BRACKET = bytes.maketrans(b"{}", b"[]")
_ONLY_DIGITS = bytes.maketrans(b"e+", b"  ")
# A number has at most three runs of digits and four other characters, so a too long one has a run of this length. So
# has an infinite one whose exponent has two digits.
_LONG_RUN = (MAX_JSONB_NUMBER_LENGTH - 4) // 3


class EventBody(Struct, forbid_unknown_fields=True, gc=False):
    """The JSON object that a client sends. UNSET tells an absent member from a null, for counting members."""

    type: TypeName
    data: Raw
    source: Reference | UnsetType | None = UNSET
    subject: Reference | UnsetType | None = UNSET
    time: Time | UnsetType | None = UNSET
    idempotency_key: Text | UnsetType | None = UNSET
    deliver_at: Annotated[Time | None, _DELIVER_AT] | UnsetType = UNSET
    delay_seconds: Annotated[Delay | None, _DELAY] | UnsetType = UNSET


_optional_members = attrgetter(*EventBody.__struct_fields__[2:])


class Due(Struct, frozen=True, gc=False):
    """When an event is to be handed on: at a time, or so many seconds after it was accepted; `pointer` says where."""

    pointer: str
    deliver_at: datetime | None = None
    delay_seconds: float | None = None


class DecodedEvent(Struct, frozen=True, kw_only=True, gc=False):
    """A valid event; `data` is JSON text, `annotations` the JSON text of what has no column of its own.

    `rounded` is the data as jsonb can hold it, where it has numbers that jsonb cannot hold or shows with hundreds of
    digits. Only code of the version before reads it.

    `due` is None for at once. What was asked for is part of `annotations` too: two events with one idempotency key
    agree in it, whatever time it comes to.

    A struct, since a frozen dataclass takes 1 µs to make, a fifth of the time of decoding. `msgspec.structs.replace`
    makes a changed copy.
    """

    type: str
    data: str
    source: str | None
    subject: str | None
    time: datetime | None
    idempotency_key: str | None
    annotations: str | None = None
    rounded: str | None = None
    due: Due | None = None

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the content: two events with one idempotency key must agree in it.

        No part is empty or holds a NUL unless it is absent, so joining with NUL is unambiguous.
        """
        parts = [*(field.text(self) or "" for field in CONTENT), self.annotations or "", self.data]
        return hashlib.sha256("\0".join(parts).encode()).digest()


def decode_event(body: bytes, *, header_key: str | None = None) -> DecodedEvent:
    """The event in `body`; `header_key` is the header Idempotency-Key. Raises Problem 400, 413 or 422."""
    require_utf8_bytes(body)
    event = decode_with(decode_body, body)
    raw = bytes(event.data)
    has_wide_numbers = check_data(raw)
    if body.count(b'"') - raw.count(b'"') != count_quotes(event):
        refuse_repeated_members(body)
    checked = checked_event(event, raw, has_wide_numbers=has_wide_numbers)
    if header_key is None:
        return checked
    key = _idempotency_key(checked.idempotency_key, header_key)
    return checked if key == checked.idempotency_key else structs.replace(checked, idempotency_key=key)


def checked_event(event: EventBody, raw: bytes, *, has_wide_numbers: bool = False) -> DecodedEvent:
    """The event with `raw` as its data, which has been checked; checks the other fields. Raises Problem 422."""
    time = event.time or None
    if time is not None:
        check_time("/time", time)
    due = checked_due("/deliver_at", event.deliver_at, "/delay_seconds", event.delay_seconds)
    data = on_one_line(raw)
    return DecodedEvent(
        type=event.type,
        data=data,
        rounded=rounded(data) if has_wide_numbers else None,
        source=checked_source(event.source),
        subject=checked_text("/subject", event.subject),
        time=time,
        idempotency_key=checked_key("/idempotency_key", event.idempotency_key),
        annotations=None if due is None else _annotated(due),
        due=due,
    )


def require_utf8_bytes(body: bytes) -> None:
    """400 for what is not UTF-8: the JSON decoder passes over the strings inside of `data`."""
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Problem("malformed_json", f"The body is not UTF-8: byte {error.start} is wrong.") from error


def on_one_line(raw: bytes) -> str:
    """The text of valid JSON as it is, without line breaks and tabs: outside of strings they say nothing, and inside
    there are none. What is exported and streamed has one event on a line.
    """
    return str(raw.translate(None, b"\r\n\t") if b"\n" in raw or b"\r" in raw else raw, "utf-8")


def check_data(raw: bytes) -> bool:
    """Whether jsonb could not hold it as it is; Problem 413 or 422 for data that nobody can hold, or only a few.

    `raw` is well-formed JSON. Each rule starts with a scan that lets nearly everything pass and nothing wrong.
    """
    if len(raw) > MAX_DATA_BYTES:
        raise Problem("payload_too_large", f"data is over {MAX_DATA_BYTES} bytes.")
    if b"\\u0000" in raw and b"\\u0000" in raw.replace(rb"\\", b""):
        # Lone surrogates, which cannot be written in UTF-8, are no valid JSON to msgspec either.
        raise invalid("/data", "nul_character", "data holds a NUL character (\\u0000), which cannot be stored.")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _check_depth(raw)
    return may_hold_large_number(raw) and _holds_wide_number(without_strings(raw))


def check_jsonb(raw: bytes) -> None:
    """check_data() for what is stored as jsonb: 422 for a number that takes hundreds of digits there, too."""
    if check_data(raw):
        detail = f"data holds a number of over {MAX_JSONB_EXPONENT} digits before or after its point."
        raise invalid("/data", "number_out_of_range", detail)


def rounded(data: str) -> str:
    """Checked data as jsonb can hold it, with doubles for numbers, and without repeated members."""
    return msgspec.json.encode(parse(data)).decode()


def may_hold_large_number(text: bytes) -> bool:
    """Whether anything in `text`, strings too, looks like a long number or one with three digits of exponent."""
    shape = text.translate(NUMBER_SHAPE)
    if b"0e000" in shape or b"0e+000" in shape:
        return True
    # Every half of a run's length is looked at first: two digits in a row are there whenever there is such a run.
    if len(text) < _LONG_RUN or b"00" not in shape[:: _LONG_RUN // 2]:
        return False
    return max(map(len, shape.translate(_ONLY_DIGITS).split())) >= _LONG_RUN


def _check_depth(raw: bytes) -> None:
    """Take away the innermost pairs, layer by layer, while they are many; then go along what is left.

    Either alone would be slow for what the other is good at: deep towers beside each other, or wide and flat data.
    A layer is taken while it is an eighth of what is left, so all of them cost no more than eight times the first.
    """
    brackets = without_strings(raw).translate(_ONE_BRACKET, _NO_BRACKET)
    layers = 0
    while brackets.count(b"][") * 16 > len(brackets):
        brackets = brackets.replace(b"[]", b"")
        layers += 1
    deepest, depth = layers, layers - 1
    # Each piece is a way down and a way up, less the two brackets that parted it from the next.
    for piece in brackets.split(b"][") if brackets else ():
        opened = piece.count(b"[")
        depth += opened + 1
        deepest = max(deepest, depth)
        depth -= len(piece) - opened + 1
    if deepest > MAX_DEPTH:
        raise invalid("/data", "too_deep", f"data is nested deeper than {MAX_DEPTH} levels.")


def _holds_wide_number(bare: bytes) -> bool:
    """Whether a number is more than jsonb should hold; 422 for one that is infinite as a double."""
    if not may_hold_large_number(bare):  # it was the digits of a string, as in hexadecimal
        return False
    numbers = set(_NUMBERS.findall(bare))
    if any(map(isinf, map(float, numbers))):
        number = next(filter(lambda each: isinf(float(each)), _NUMBERS.findall(bare)))
        detail = f"data holds a number beyond the range of a double: {number[:20].decode()}…"
        raise invalid("/data", "number_out_of_range", detail)
    return max(map(len, numbers)) > MAX_JSONB_NUMBER_LENGTH or any(
        len(exponent) > len(str(MAX_JSONB_EXPONENT)) or int(exponent) > MAX_JSONB_EXPONENT
        for exponent in set(_LONG_EXPONENTS.findall(bare))
    )


def count_quotes(event: EventBody) -> int:
    """The quotes of the object that `event` was, without those of `data`, if no member came twice.

    JSON decoders keep the last of two equal names, silently; here that is an error. A repeated member adds at least
    the two quotes of its name, an escaped quote adds one, nothing takes one away: an equal count proves that no
    name is there twice.
    """
    quotes = 6
    for value in _optional_members(event):
        if value is not UNSET:
            quotes += 2 if value is None or isinstance(value, float) else 4
    return quotes


def refuse_repeated_members(body: bytes) -> None:
    """422 if a name is twice in the outermost object: the exact and slow answer, for when quotes do not add up."""
    names: list[str] = []

    def keep_names(pairs: list[tuple[str, Any]]) -> None:
        names[:] = [name for name, _ in pairs]  # the outermost object comes last

    try:
        json.loads(body, object_pairs_hook=keep_names, parse_int=len, parse_float=len)
    except RecursionError as error:
        raise invalid("/data", "too_deep", f"data is nested deeper than {MAX_DEPTH} levels.") from error
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise repeated_member(name)
        seen.add(name)


def repeated_member(name: str) -> Problem:
    return invalid(pointer_to(name), "repeated_field", f"The field {cut(name)!r} is given twice.")


def checked_text(pointer: str, value: str | UnsetType | None) -> str | None:
    """The text or None; 422 for a NUL, which PostgreSQL cannot hold."""
    if not value:
        return None
    if "\x00" in value:
        raise invalid(pointer, "nul_character", "NUL characters cannot be stored.")
    return value


def checked_source(value: str | UnsetType | None) -> str | None:
    """The text or None; 422 for the platform's own source too."""
    if value == PLATFORM_SOURCE:
        raise invalid("/source", "reserved", f"The source {PLATFORM_SOURCE} is the platform's own: use another one.")
    return checked_text("/source", value)


def checked_key(pointer: str, value: str | UnsetType | None) -> str | None:
    """The idempotency key or None; 422 for one of the platform's too."""
    key = checked_text(pointer, value)
    if key is not None and key.startswith(PLATFORM_KEYS):
        detail = (
            f"Idempotency keys that begin with {' or '.join(PLATFORM_KEYS)} are the platform's own: use another one."
        )
        raise invalid(pointer, "reserved", detail)
    return key


def checked_due(
    time_pointer: str,
    deliver_at: datetime | UnsetType | None,
    delay_pointer: str,
    delay_seconds: float | UnsetType | None,
) -> Due | None:
    """What either of the two says, None for at once; 422 for both."""
    if isinstance(deliver_at, datetime):
        if isinstance(delay_seconds, float):
            raise invalid(time_pointer, "contradiction", "A time and a delay exclude each other: give one of them.")
        check_time(time_pointer, deliver_at)
        return Due(time_pointer, deliver_at=deliver_at)
    return Due(delay_pointer, delay_seconds=delay_seconds) if isinstance(delay_seconds, float) else None


def check_time(pointer: str, time: datetime) -> None:
    """422 for a time whose UTC date is before the year 1 or after 9999: it could be stored, but never read."""
    if 1 < time.year < 9999:
        return
    try:
        time.astimezone(UTC)
    except OverflowError as error:
        raise invalid(pointer, "invalid", "The time is outside of the years 1 to 9999 in UTC.") from error


def _annotated(due: Due) -> str:
    if due.deliver_at is not None:
        return f'{{"schedule":{{"deliver_at":"{format_time(due.deliver_at)}"}}}}'
    return f'{{"schedule":{{"delay_seconds":{due.delay_seconds}}}}}'


def _idempotency_key(in_body: str | None, in_header: str) -> str | None:
    header_key = header_text(in_header)
    if not 1 <= len(header_key) <= 255:
        raise invalid("/idempotency_key", "invalid", "The header Idempotency-Key takes 1 to 255 characters.")
    if in_body is not None and in_body != header_key:
        raise invalid("/idempotency_key", "contradiction", "The body and the header name different keys.")
    return checked_key("/idempotency_key", header_key)


decode_body: Callable[[bytes], EventBody] = msgspec.json.Decoder(EventBody).decode
