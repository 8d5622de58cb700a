"""Values in JSON text are replaced; the rest of the text stays as it was sent. Pure."""

from collections.abc import Sequence

import msgspec
from msgspec import Raw

REDACTED = b'"[redacted]"'
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode


def redacted(data: str, paths: Sequence[Sequence[str]]) -> str:
    """The JSON text with REDACTED in place of each value that a path leads to.

    A step is a member's name or an index, which counts from the end if it is negative. Of a member that is there
    several times on the way, only the last is kept: nobody would think to redact the others.
    """
    text = data.encode()
    for path in paths:
        text = _with_redacted(text, path)
    return text.decode()


def _with_redacted(text: bytes, path: Sequence[str]) -> bytes:
    if not path:
        return REDACTED
    step, rest = path[0], path[1:]
    kind = text.lstrip()[:1]
    if kind == b"{" and step in (members := _members(text)):
        members[step] = Raw(_with_redacted(bytes(members[step]), rest))
        return msgspec.json.encode(members)
    if kind == b"[" and (index := _index(step)) is not None:
        items = _items(text)
        if -len(items) <= index < len(items):
            items[index] = Raw(_with_redacted(bytes(items[index]), rest))
            return msgspec.json.encode(items)
    return text


def _index(step: str) -> int | None:
    digits = step.removeprefix("-")
    return int(step) if digits.isdecimal() and digits.isascii() and len(digits) < 10 else None
