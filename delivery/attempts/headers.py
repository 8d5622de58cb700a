"""The headers of an attempt as they are kept and shown: what was sent, and what the endpoint answered. Pure."""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from yarl import URL

from delivery.attempts.exchange import MAX_HEADER_BYTES
from delivery.endpoints.masking import mask

# What is sent with every request, unless the request has its own.
DEFAULT_HEADERS = {"User-Agent": "events-platform-webhooks/1", "Accept": "*/*", "Accept-Encoding": "identity"}
# What the platform sets itself, and is no secret. Everything else is what a subscription has added.
_CLEAR = frozenset({
    "content-type", "user-agent", "webhook-id", "webhook-timestamp", "webhook-signature", "webhook-sequence",
    "traceparent", "tracestate",
})  # fmt: skip


def shown_request_headers(url: str, headers: Mapping[str, str], *, length: int) -> dict[str, str]:
    """As they are sent, in their order, with a body of so many bytes; what a subscription has added is masked."""
    shown = {"Host": _host(url)}
    own = {name.lower() for name in headers}
    shown |= {name: value for name, value in DEFAULT_HEADERS.items() if name.lower() not in own}
    for name, value in headers.items():
        shown[name] = value if name.lower() in _CLEAR else mask(value)
    shown["Content-Length"] = str(length)
    return shown


@lru_cache(maxsize=1024)
def _host(url: str) -> str:
    """Empty for what is no URL: nothing is sent to it."""
    try:
        return URL(url).host_port_subcomponent or ""
    except ValueError:
        return ""


def kept_headers(received: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Those of an answer, as they were spelled: a field that came several times has its values joined by commas.

    Names and values have MAX_HEADER_BYTES together; the value that goes beyond is cut, and what follows it is left
    out.
    """
    kept: dict[str, str] = {}
    spelled: dict[bytes, str] = {}
    left = MAX_HEADER_BYTES
    for name, value in received:
        left -= len(name)
        if left <= 0:
            break
        text = storable(value[:left].decode("utf-8", "replace"))
        left -= len(value)
        key = spelled.setdefault(name.lower(), storable(name.decode("utf-8", "replace")))
        kept[key] = f"{kept[key]}, {text}" if key in kept else text
    return kept


def storable(text: str) -> str:
    """PostgreSQL stores no NUL."""
    return text.replace("\0", "")
