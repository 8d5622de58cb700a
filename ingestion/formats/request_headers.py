"""What is kept of the headers that an event came with, as JSON text, the same at both doors. Pure.

Kept are all headers but those that name a secret or an address of the client, or that belong to the connection. It
is made once for each request; most of it comes from a cache, since clients send the same headers again and again.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

MAX_HEADERS = 32
# JSON text of all of them. A usual client sends some 200 bytes; this is stored with each event.
MAX_BYTES = 4096
MAX_VALUE = 512
CUT = "…"
MASK = "***"
# Longer values are rarely the same twice; with these bounds the cache holds a megabyte or two.
_MAX_CACHED = 200
_CACHED = 4096

_DROPPED = {
    # secrets, whole
    "authorization", "proxy-authorization", "cookie", "cookie2", "x-api-key",
    # the connection's business, or the same for all
    "connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-connection", "te",
    "trailer", "transfer-encoding", "upgrade", "via",
}  # fmt: skip
# A client's address is personal data; many proxies have a header of their own for it.
_ADDRESS = re.compile(r"forwarded|-ip$|clientip$|socketip$|-addr(ess)?$")
_SECRET_NAME = re.compile(r"token|secret|passw|auth|key|signature|session|cookie|credential")
_NO_SECRETS = ("idempotency-key", "x-idempotency-key")
# A key in a header that is not made for it is no less a key.
_SECRET_VALUE = re.compile(r"evp_[a-z]+_|^(?i:basic|bearer) ")
# Nearly every value: JSON as it is, and no secret unless it holds a key. That takes a fifth of the time.
_PLAIN = re.compile(rf"(?![Bb])[ !#-\[\]-~]{{0,{MAX_VALUE}}}")
# jsonb cannot hold NUL; the others have no business in a header either.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def kept_headers(headers: Mapping[str, str]) -> str | None:
    """`{"headers":{…}}`, with a member `"headers_left_out":<count>` if some were too many or too large.

    `headers` have names in lower case and values as HTTP servers give them, in latin-1. None if nothing is kept.
    """
    found = [
        _cached_member(name, value) if len(name) + len(value) <= _MAX_CACHED else _member(name, value)
        for name, value in headers.items()
        if name not in _DROPPED
    ]
    members = [member for member in found if member]
    if not members:
        return None
    text = ",".join(members)
    if len(members) > MAX_HEADERS or len(text) > MAX_BYTES // 4:
        return _bounded(members)
    return f'{{"headers":{{{text}}}}}'


def _bounded(members: list[str]) -> str:
    """Those that fit, from the first one on."""
    kept: list[str] = []
    size = 0
    for member in members:
        more = len(member.encode()) + 1
        if len(kept) < MAX_HEADERS and size + more <= MAX_BYTES:
            kept.append(member)
            size += more
    note = f',"headers_left_out":{left_out}' if (left_out := len(members) - len(kept)) else ""
    return f'{{"headers":{{{",".join(kept)}}}{note}}}'


def _member(name: str, value: str) -> str:
    """`"name":"value"`; empty if the header is not kept."""
    prefix, is_secret = _named(name)
    if not prefix:
        return ""
    if is_secret:
        return f'{prefix}"{MASK}"'
    if _PLAIN.fullmatch(value) and "evp_" not in value:
        return f'{prefix}"{value}"'
    return prefix + _quoted(MASK if _SECRET_VALUE.search(value) else _readable(value))


_cached_member = lru_cache(maxsize=_CACHED)(_member)


@lru_cache(maxsize=512)
def _named(name: str) -> tuple[str, bool]:
    """`"name":`, empty if it is not kept, and whether its values are secret."""
    if _ADDRESS.search(name):
        return "", False
    return _quoted(_readable(name)) + ":", is_secret_name(name)


def is_secret_name(name: str) -> bool:
    """Whether what goes by this name, in lower case and with hyphens, is shown to nobody."""
    return bool(_SECRET_NAME.search(name)) and name not in _NO_SECRETS


def header_text(value: str) -> str:
    """What a header says: UTF-8 where it is UTF-8, else latin-1, as HTTP servers give it."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _readable(value: str) -> str:
    """Without control characters; cut at MAX_VALUE characters."""
    text = _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", header_text(value))
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + CUT


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
