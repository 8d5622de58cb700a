"""What a body is, before anything decodes it: its media type and charset, its content encoding. Pure and bounded.

Sources: RFC 9110 8.3 and 8.4 (Content-Type, Content-Encoding), RFC 1952 (gzip), RFC 8878 (zstd), RFC 9659 (zstd's
window over HTTP is at most 8 MiB), RFC 7694 (a 415 names the encodings that are taken).
"""

import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from core.field_errors import cut
from core.problems import Problem

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_ZSTD_WINDOW = 8 * 1024 * 1024
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW.bit_length() - 1}
# Block-wise compressors make a gzip member, or zstd frame, per 64 KiB.
MAX_MEMBERS = 128
# What is unpacked at once: behind the end of each member the rest of it is copied.
STEP_BYTES = 64 * 1024
ENCODINGS = "gzip, zstd"

_CHARSETS = {"utf-8", "utf8", "us-ascii"}
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]+)', re.IGNORECASE)


def content_type(headers: Mapping[str, str]) -> tuple[str, str | None]:
    """Media type and charset of a request, both in lower case; ("", None) without the header."""
    value = headers.get("content-type", "")
    main = value.partition(";")[0].strip().lower()
    charset = _CHARSET.search(value)
    return main, charset[1].lower() if charset else None


def require_utf8(charset: str | None) -> None:
    """415 for a charset other than UTF-8 and the part of it that is ASCII."""
    if charset is not None and charset not in _CHARSETS:
        raise Problem("unsupported_media_type", f"The charset {cut(charset)!r} is not known here: send UTF-8.")


def unpack(body: bytes, encoding: str | None, limit: int) -> bytes:
    """The body without its content encoding: `gzip`, `zstd` or none.

    At most `limit` + 1 bytes are ever inflated. Raises Problem 400 (truncated, damaged, bytes after the end),
    413 (over `limit` bytes) or 415 (another encoding, or several at once).
    """
    name = (encoding or "identity").strip().lower()
    if name not in _UNPACKERS:
        raise Problem(
            "unsupported_media_type",
            f"Send one content encoding of {ENCODINGS}, or none.",
            headers={"Accept-Encoding": ENCODINGS},
        )
    try:
        return _collect(_UNPACKERS[name](body, limit), limit)
    except (zlib.error, zstd.ZstdError, EOFError) as error:
        raise Problem("bad_request", f"The body is not valid {name}: it is damaged or cut short.") from error


def _collect(parts: Iterator[bytes], limit: int) -> bytes:
    """The parts in one; each of them is itself no longer than what was left of the limit, plus one byte."""
    found: list[bytes] = []
    size = 0
    for part in parts:
        found.append(part)
        size += len(part)
        if size > limit:
            raise Problem("payload_too_large", f"The body is over {limit} bytes.")
    return found[0] if len(found) == 1 else b"".join(found)


def _plain(body: bytes, limit: int) -> Iterator[bytes]:
    yield body


def _members(body: bytes, limit: int, *, unpacker: Callable[[], Any]) -> Iterator[bytes]:
    """The members of gzip, or frames of zstd, in steps: of each, what is left of the limit plus one byte at most."""
    rest, room = memoryview(body), limit + 1
    for _ in range(MAX_MEMBERS):
        member = unpacker()
        while not member.eof:
            if not rest:
                raise EOFError
            step = rest[:STEP_BYTES]
            part = member.decompress(step, room)
            room -= len(part)
            yield part
            rest = rest[len(step) - len(member.unused_data) :]
        if not rest:
            return
    raise Problem("bad_request", f"The body has more than {MAX_MEMBERS} compressed members.")


_gzip = partial(_members, unpacker=partial(zlib.decompressobj, wbits=16 + zlib.MAX_WBITS))
_zstd = partial(_members, unpacker=partial(zstd.ZstdDecompressor, options=_ZSTD_OPTIONS))
_UNPACKERS: dict[str, Callable[[bytes, int], Iterator[bytes]]] = {
    "identity": _plain,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "zstd": _zstd,
}
