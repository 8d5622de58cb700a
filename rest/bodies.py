"""What a body is, before anything decodes it: its media type and charset, its content encoding. Pure and bounded.

Sources: RFC 9110 8.3 and 8.4 (Content-Type, Content-Encoding), RFC 1952 (gzip), RFC 8878 (zstd), RFC 9659 (zstd's
window over HTTP is at most 8 MiB), RFC 7694 (a 415 names the encodings that are taken).
"""

import re
import zlib
from collections.abc import Iterator, Mapping

import zstandard

from core.field_errors import cut
from core.problems import Problem

MAX_ZSTD_WINDOW = 8 * 1024 * 1024
# Each further gzip member or zstd frame costs a copy of what follows it; block-wise compressors make one per 64 KiB.
MAX_MEMBERS = 128
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
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise Problem("bad_request", f"The body is not valid {name}: it is damaged or cut short.") from error


def _collect(parts: Iterator[bytes], limit: int) -> bytes:
    """The parts in one; each of them is itself no longer than what was left of the limit, plus one byte."""
    found: list[bytes] = []
    for number, part in enumerate(parts):
        found.append(part)
        if sum(map(len, found)) > limit:
            raise Problem("payload_too_large", f"The body is over {limit} bytes.")
        if number >= MAX_MEMBERS:
            raise Problem("bad_request", f"The body has more than {MAX_MEMBERS} compressed members.")
    return found[0] if len(found) == 1 else b"".join(found)


def _plain(body: bytes, limit: int) -> Iterator[bytes]:
    yield body


def _gzip_members(body: bytes, limit: int) -> Iterator[bytes]:
    rest, room = body, limit + 1
    while rest or rest is body:
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        part = member.decompress(rest, room)
        room -= len(part)
        if room and not member.eof:
            raise EOFError
        yield part
        rest = member.unused_data


def _zstd_frames(body: bytes, limit: int) -> Iterator[bytes]:
    rest, room = body, limit + 1
    unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
    while rest or rest is body:
        end = _zstd_frame_end(rest)
        part = unpacker.stream_reader(rest[:end]).read(room)
        room -= len(part)
        yield part
        rest = rest[end:]


def _zstd_frame_end(body: bytes) -> int:
    """Where the first frame ends: the library reads a truncated one without a word (RFC 8878 3.1.1)."""
    position = zstandard.frame_header_size(body)
    last = False
    while not last:
        header = int.from_bytes(body[position : position + 3], "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        position += 3 + (1 if kind == 1 else size)
        if position > len(body):
            raise EOFError
    position += 4 if zstandard.get_frame_parameters(body).has_checksum else 0
    if position > len(body):
        raise EOFError
    return position


_UNPACKERS = {"identity": _plain, "gzip": _gzip_members, "x-gzip": _gzip_members, "zstd": _zstd_frames}
