"""Bytes of a request → one event, checked. Pure: no database, no Django models.

`data` stays the JSON text that was sent: it is checked for what PostgreSQL's jsonb cannot hold, never parsed.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from rest.parsing import decode
from rest.problems import Problem, invalid

MAX_DATA_BYTES = 256 * 1024
MAX_BODY_BYTES = MAX_DATA_BYTES + 16 * 1024
MAX_DEPTH = 64
# Longer literals or exponents beyond a double's range grow a thousandfold when jsonb prints them.
MAX_NUMBER_LENGTH = 400
MAX_EXPONENT = 308

Text = Annotated[str, Meta(min_length=1, max_length=255)]

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPES = re.compile(rb"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
_NUMBERS = re.compile(rb"-?[0-9][0-9.eE+-]*")
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class EventBody(Struct, forbid_unknown_fields=True):
    """The JSON object that a client sends."""

    type: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._\-/]{1,255}\Z")]
    data: Raw
    source: Text | None = None
    subject: Text | None = None
    time: Annotated[datetime, Meta(tz=True)] | None = None
    idempotency_key: Text | None = None


@dataclass(frozen=True, kw_only=True)
class DecodedEvent:
    """A valid event; `data` is JSON text in UTF-8."""

    type: str
    data: str
    source: str | None
    subject: str | None
    time: datetime | None
    idempotency_key: str | None

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the content: two events with one idempotency key must agree in it."""
        parts = [self.type, self.source, self.subject, self.time and self.time.isoformat(), self.data]
        return hashlib.sha256(msgspec.json.encode(parts)).digest()


def decode_event(body: bytes, *, header_key: str | None = None) -> DecodedEvent:
    """The event in `body`; `header_key` is the header Idempotency-Key. Raises Problem 400, 413 or 422."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Problem("malformed_json", f"The body is not UTF-8: byte {error.start} is wrong.") from error
    event = decode(body, EventBody)
    raw = bytes(event.data)
    _refuse_repeated_fields(body, raw)
    check_data(raw)
    return DecodedEvent(
        type=event.type,
        data=raw.decode(),
        source=_text("/source", event.source),
        subject=_text("/subject", event.subject),
        time=event.time,
        idempotency_key=_idempotency_key(event.idempotency_key, header_key),
    )


def check_data(raw: bytes) -> None:
    """Refuse data that jsonb cannot hold or that is too large or too deep; Problem 413 or 422."""
    if len(raw) > MAX_DATA_BYTES:
        raise Problem("payload_too_large", f"data is over {MAX_DATA_BYTES} bytes.")
    if b"\\u0000" in raw:
        _refuse_nul(raw)
    bare = _STRINGS.sub(b'""', raw)
    depths = accumulate(map(_STEP.__getitem__, bare.translate(None, _NO_BRACKET)))
    if max(depths, default=0) > MAX_DEPTH:
        raise invalid("/data", "too_deep", f"data is nested deeper than {MAX_DEPTH} levels.")
    for number in _NUMBERS.findall(bare):
        _check_number(number)


def _refuse_nul(raw: bytes) -> None:
    """jsonb has no NUL. Lone surrogates, the other thing it refuses, are no valid JSON to msgspec either."""
    if any(found.lower() == b"\\u0000" for found in _ESCAPES.findall(raw)):
        raise invalid("/data", "nul_character", "data holds a NUL character (\\u0000), which cannot be stored.")


def _check_number(number: bytes) -> None:
    _, _, exponent = number.lower().partition(b"e")
    if len(number) > MAX_NUMBER_LENGTH or (exponent and abs(int(exponent)) > MAX_EXPONENT):
        raise invalid("/data", "number_out_of_range", f"data holds a number that is too large: {number[:20].decode()}…")


def _refuse_repeated_fields(body: bytes, raw: bytes) -> None:
    """JSON parsers keep the last of two equal names, silently; here it is an error.

    Only the envelope is looked at, without `data`: it is short, so counting names costs next to nothing.
    """
    start = body.rfind(raw)
    envelope = body[:start] + b"null" + body[start + len(raw) :]
    if b"\\" not in envelope and all(envelope.count(b'"%s"' % name) <= 1 for name in _FIELDS):
        return
    names = re.findall(rb'("(?:[^"\\]|\\.)*")\s*:', _without_values(envelope))
    seen: set[str] = set()
    for name in map(msgspec.json.decode, names):
        if name in seen:
            raise invalid(f"/{name}", "repeated_field", f"The field {name!r} is given twice.")
        seen.add(name)


def _without_values(envelope: bytes) -> bytes:
    """The envelope with its string values blanked, so that only names are followed by a colon."""
    return re.sub(rb':\s*"(?:[^"\\]|\\.)*"', b":null", envelope)


_FIELDS = [name.encode() for name in EventBody.__struct_fields__]


def _text(pointer: str, value: str | None) -> str | None:
    if value is not None and "\x00" in value:
        raise invalid(pointer, "nul_character", "NUL characters cannot be stored.")
    return value


def _idempotency_key(in_body: str | None, header_key: str | None) -> str | None:
    if header_key is not None and not 1 <= len(header_key) <= 255:
        raise invalid("/idempotency_key", "invalid", "The header Idempotency-Key takes 1 to 255 characters.")
    if in_body is not None and header_key is not None and in_body != header_key:
        raise invalid("/idempotency_key", "contradiction", "The body and the header name different keys.")
    return _text("/idempotency_key", in_body if in_body is not None else header_key)
