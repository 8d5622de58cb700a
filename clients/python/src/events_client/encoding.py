"""Events as JSON text. What goes out says exactly what was given, or it does not go out."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from math import isfinite

import msgspec
from msgspec import Raw

from events_client.errors import InvalidEventError

# Decimals as numbers keep their digits; as text they would be another value.
_encoder = msgspec.json.Encoder(decimal_format="number")
_raw_decoder = msgspec.json.Decoder(Raw)


class _Envelope(msgspec.Struct, omit_defaults=True):
    type: str
    data: Raw
    source: str | None = None
    subject: str | None = None
    time: str | datetime | None = None
    idempotency_key: str | None = None
    deliver_at: str | datetime | None = None


def encode_event(
    type: str,  # noqa: A002 - the name of the member
    data: object,
    *,
    source: str | None = None,
    subject: str | None = None,
    time: datetime | str | None = None,
    idempotency_key: str | None = None,
    deliver_at: datetime | str | None = None,
) -> bytes:
    """The event as JSON, with a new idempotency key when none is given: it can be sent twice and counts once.

    Raises InvalidEventError.
    """
    envelope = _Envelope(
        type,
        encode_data(data),
        source,
        subject,
        _aware(time, "time"),
        idempotency_key or uuid.uuid4().hex,
        _aware(deliver_at, "deliver_at"),
    )
    return encode(envelope)


def encode_data(data: object) -> Raw:
    """`data` as JSON text. A `Raw` goes out byte by byte, once it is known to be one JSON value."""
    if isinstance(data, Raw):
        try:
            msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidEventError(f"the raw data is not JSON: {error}") from error
        return data
    text = encode(data)
    # The one value that the encoder changes without a word: a float that JSON has no number for becomes null.
    if b"null" in text:
        _require_finite(msgspec.to_builtins(data, builtin_types=(bytes, datetime, uuid.UUID)))
    return Raw(text)


def encode(value: object) -> bytes:
    """A value as JSON in UTF-8; raises InvalidEventError for what has no JSON."""
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEventError(
            f"this cannot be written as JSON: {error}. Give dicts, lists, texts, numbers, booleans and None,"
            " or JSON text as Raw(b'…')."
        ) from error


def joined(events: Iterable[bytes]) -> bytes:
    """Events that are JSON already, as one array."""
    return b"[%b]" % b",".join(events)


def _aware(moment: datetime | str | None, name: str) -> datetime | str | None:
    if isinstance(moment, datetime) and moment.tzinfo is None:
        raise InvalidEventError(f"{name} has no time zone: datetime.now(timezone.utc) has one, utcnow() has not")
    return moment


def _require_finite(value: object) -> None:
    if isinstance(value, float) and not isfinite(value):
        raise InvalidEventError(f"JSON has no number {value!r}")
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        for item in value:
            _require_finite(item)
