"""What is kept of an attempt besides the columns of its row, packed into some 150 bytes. Pure.

What is the same for every attempt at an endpoint (URL, address, most headers) is compressed, with a dictionary of what
is common, and remembered: a sender compresses it once, not two thousand times a second. What differs each time stands
beside it, in binary where that is shorter. What can be derived is left out.
"""

import binascii
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from delivery.attempts.exchange import Timings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Where a value is: the next of those that stand beside, the event's id, or the second in which the attempt began.
_BESIDE, _EVENT, _SECOND = 0, 1, 2
_DIFFER = frozenset({
    "webhook-id", "webhook-signature", "webhook-sequence", "traceparent", "content-length", "date", "etag",
    "x-request-id", "cf-ray",
})  # fmt: skip
# Most common last. It must never change: all that is stored was packed with it.
_LIKELY = (
    ("Transfer-Encoding", "chunked"), ("X-Frame-Options", "SAMEORIGIN"), ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"), ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("Cache-Control", "no-cache, no-store, must-revalidate, max-age=0, private"), ("Vary", "Origin, Cookie"),
    ("Vary", "Accept-Encoding"), ("Via", "1.1 google"), ("Alt-Svc", 'h3=":443"; ma=86400'),
    ("CF-Cache-Status", "DYNAMIC"), ("X-Powered-By", "Express"), ("X-Request-Id", 0), ("ETag", 0), ("CF-RAY", 0),
    ("vary", "Accept-Encoding"), ("x-request-id", 0), ("content-type", "text/plain; charset=utf-8"), ("date", 0),
    ("server", "uvicorn"), ("content-length", 0), ("Server", "Apache"), ("Server", "gunicorn"),
    ("Server", "Python/3.11 aiohttp/3."), ("Server", "cloudflare"), ("Server", "nginx"), ("Keep-Alive", "timeout=5"),
    ("Connection", "close"), ("Connection", "keep-alive"), ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Type", "text/plain; charset=utf-8"), ("Content-Type", "application/json; charset=utf-8"),
    ("Date", 0), ("Content-Length", 0), "The endpoint answered 200 (OK).", "127.0.0.1", "/api/webhooks/hooks/events",
    "https://", ("Host", ""), ("Authorization", "****"), ("X-Api-Key", "****"), ("Accept", "*/*"),
    ("Accept-Encoding", "identity"), ("content-type", "application/json"), ("user-agent", "EventsPlatform/1"),
    ("webhook-id", 1), ("webhook-timestamp", 2), ("webhook-signature", 0), ("Content-Length", 0),
)  # fmt: skip
_DICTIONARY = msgspec.json.encode(_LIKELY)


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request and its answer, without the bodies. Of the request, what the subscription added is masked.

    `status` and `remote_address` are None when it did not come to that; `detail` is a sentence for people.
    """

    started_at: datetime
    status: int | None
    url: str
    remote_address: str | None
    timings: Timings
    request_headers: Mapping[str, str]
    response_headers: Mapping[str, str]
    detail: str


_Header = tuple[str, str | int]


class _Common(msgspec.Struct, array_like=True):
    """What another attempt at the same endpoint most likely has, too."""

    request: list[_Header]
    response: list[_Header]
    address: str | None
    url: str
    detail: str


class _Packed(msgspec.Struct, array_like=True):
    """`started` in microseconds since 1970; `beside` are the values of headers that differ each time, in order: str,
    int or bytes, which msgspec allows in no union.
    """

    started: int
    status: int | None
    timings: tuple[int | None, int | None, int | None, int | None]
    beside: list[Any]
    common: bytes


_packed_decoder = msgspec.msgpack.Decoder(_Packed)
_common_decoder = msgspec.json.Decoder(_Common)


def pack(record: AttemptRecord, *, event_id: UUID) -> bytes:
    """For the row; unpack() makes the same of it. `event_id` is that of the delivery."""
    derived = {"webhook-id": (str(event_id), _EVENT), "webhook-timestamp": (_second(record.started_at), _SECOND)}
    beside: list[str | int | bytes] = []
    common = _Common(
        request=[_parted(name, value, derived, beside) for name, value in record.request_headers.items()],
        response=[_parted(name, value, {}, beside) for name, value in record.response_headers.items()],
        address=record.remote_address,
        url=record.url,
        detail=record.detail,
    )
    started = (record.started_at - _EPOCH) // timedelta(microseconds=1)
    timings = msgspec.structs.astuple(record.timings)
    packed = _Packed(started, record.status, timings, beside, _squeezed(msgspec.json.encode(common)))
    return msgspec.msgpack.encode(packed)


def unpack(packed: bytes | memoryview, *, event_id: UUID) -> AttemptRecord:
    """What was packed."""
    found = _packed_decoder.decode(packed)
    common = _common_decoder.decode(zlib.decompressobj(-zlib.MAX_WBITS, _DICTIONARY).decompress(found.common))
    started_at = _EPOCH + timedelta(microseconds=found.started)
    derived = {_EVENT: str(event_id), _SECOND: _second(started_at)}
    beside = iter(found.beside)
    return AttemptRecord(
        started_at=started_at,
        status=found.status,
        url=common.url,
        remote_address=common.address,
        timings=Timings(*found.timings),
        request_headers={name: _whole(name, part, derived, beside) for name, part in common.request},
        response_headers={name: _whole(name, part, derived, beside) for name, part in common.response},
        detail=common.detail,
    )


def without_answer(packed: bytes | memoryview, *, event_id: UUID) -> bytes:
    """The same attempt, without what the endpoint said in headers."""
    return pack(msgspec.structs.replace(unpack(packed, event_id=event_id), response_headers={}), event_id=event_id)


# An entry has up to 10 KiB, twice.
@lru_cache(maxsize=512)
def _squeezed(common: bytes) -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=_DICTIONARY)
    return squeezer.compress(common) + squeezer.flush()


def _second(moment: datetime) -> str:
    return str(int(moment.timestamp()))


def _parted(name: str, value: str, derived: Mapping[str, tuple[str, int]], beside: list[str | int | bytes]) -> _Header:
    """The header as it is common to attempts; its value is put beside when it differs each time."""
    lower = name.lower()
    if lower in derived and derived[lower][0] == value:
        return name, derived[lower][1]
    if lower not in _DIFFER:
        return name, value
    beside.append(_shortest(lower, value))
    return name, _BESIDE


def _whole(name: str, part: str | int, derived: Mapping[int, str], beside: Iterator[str | int | bytes]) -> str:
    if isinstance(part, str):
        return part
    value = next(beside) if part == _BESIDE else derived[part]
    if isinstance(value, bytes):
        return _signatures(value)
    if isinstance(value, int):
        return formatdate(value, usegmt=True) if name.lower() == "date" else str(value)
    return value


def _shortest(name: str, value: str) -> str | int | bytes:
    """The value, or what can be turned into exactly it."""
    if name == "webhook-signature":
        return _raw_signatures(value) or value
    if name == "date":
        return _timestamp(value) or value
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 and value[0] != "0" else value


def _raw_signatures(value: str) -> bytes | None:
    """Those of HMAC-SHA256 have 32 bytes each."""
    try:
        raw = b"".join(b64decode(one.removeprefix("v1,")) for one in value.split(" "))
    except (binascii.Error, ValueError):
        return None
    return raw if _signatures(raw) == value else None


def _signatures(raw: bytes) -> str:
    return " ".join(f"v1,{b64encode(raw[begin : begin + 32]).decode()}" for begin in range(0, len(raw), 32))


@lru_cache(maxsize=64)
def _timestamp(date: str) -> int | None:
    try:
        seconds = int(parsedate_to_datetime(date).timestamp())
    except (ValueError, OverflowError):
        return None
    return seconds if formatdate(seconds, usegmt=True) == date else None
