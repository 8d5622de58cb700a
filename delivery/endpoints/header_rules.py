"""Which headers a subscription may add to its webhooks. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from core.field_errors import FieldError
from core.problems import Problem, invalid
from delivery.endpoints.masking import pointer_of

MAX_HEADERS = 20
# Names and values together. Servers commonly stop at 8 KiB for all headers; the platform's own need some 600 bytes.
MAX_HEADER_BYTES = 4096

# RFC 9110, 5.6.2: a token.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110, 5.5, without what is obsolete: visible ASCII, spaces and tabs only inside.
_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")
# What frames the message, names its sender or its path, or is signed: the platform's own business.
_RESERVED = {
    "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "cookie", "cookie2",
    "date", "expect", "forwarded", "host", "http2-settings", "keep-alive", "te", "trailer", "transfer-encoding",
    "upgrade", "user-agent", "via", "x-real-ip",
}  # fmt: skip
_RESERVED_PREFIXES = ("webhook-", "proxy-", "x-forwarded-")


def check_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """The headers, or a Problem that names every wrong one by `/headers/<name>`."""
    if len(headers) > MAX_HEADERS:
        raise invalid("/headers", "too_many", f"At most {MAX_HEADERS} headers.")
    errors: list[FieldError] = []
    seen: set[str] = set()
    for name, value in headers.items():
        if wrong := _what_is_wrong(name, value, seen):
            code, detail = wrong
            errors.append(FieldError(pointer=pointer_of(name), code=code, detail=detail))
        seen.add(name.lower())
    if errors:
        raise Problem("validation_failed", errors=errors)
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADER_BYTES:
        raise invalid("/headers", "too_long", f"Names and values together are at most {MAX_HEADER_BYTES} bytes.")
    return dict(headers)


def _what_is_wrong(name: str, value: Any, seen: set[str]) -> tuple[str, str] | None:
    """Code and sentence for the first rule that a header breaks."""
    if _NAME.fullmatch(name) is None:
        return "invalid_name", "A header's name is made of letters, digits and !#$%&'*+-.^_`|~."
    if name.lower() in _RESERVED or name.lower().startswith(_RESERVED_PREFIXES):
        return "reserved", "The platform sets this header itself, or never sends it."
    if name.lower() in seen:
        return "duplicate", "This header is given twice; upper and lower case are the same."
    if not isinstance(value, str) or _VALUE.fullmatch(value) is None:
        return "invalid_value", "A header's value is a string of visible ASCII characters, with spaces only inside."
    return None
