"""Where a request comes from."""

import logging
from collections.abc import Container, Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from core.log_lines import log_line

logger = logging.getLogger(__name__)
# What proxies add. `X-Forwarded-Host` and the like come with one of these.
_OF_PROXIES = ("x-forwarded-for", "x-forwarded-proto", "forwarded")
_IPV6_PREFIX = 64
_warned = False


def client_address(request: HttpRequest) -> str | None:
    """The address that a request came from; None at a Unix socket."""
    return address_of(request.META.get("HTTP_X_FORWARDED_FOR", ""), request.META.get("REMOTE_ADDR", ""))


def address_of(forwarded: str, peer: str) -> str | None:
    """The peer's own address or, behind TRUSTED_PROXIES proxies, the one that the outermost of them saw.

    Each proxy appends its peer to X-Forwarded-For, so only as many entries as there are proxies are true, from the
    right: what stands before them can be written by anyone.
    """
    proxies = settings.TRUSTED_PROXIES
    seen = forwarded.split(",") if proxies else []
    address = seen[-proxies] if proxies and len(seen) >= proxies else ""
    return _valid(address) or _valid(peer)


def client_network(request: HttpRequest) -> str | None:
    """Whom limits take for the client that sent the request."""
    return network_of(client_address(request)) or None


def network_of_peer(scope: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """Likewise, of a request in ASGI's form that Django has not seen; `headers` with names in lower case."""
    client = scope.get("client")
    return network_of(address_of(headers.get("x-forwarded-for", ""), client[0] if client else ""))


def network_of(address: str | None) -> str:
    """What one client is likely to have: an address of IPv4; of IPv6 the first one of its /64."""
    if address is None or ":" not in address:
        return address or ""
    return str(ip_network(f"{address}/{_IPV6_PREFIX}", strict=False).network_address)


def _valid(text: str) -> str | None:
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    # As a socket for both kinds tells of IPv4.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def warn_of_unread_proxy(headers: Container[str]) -> None:
    """One line in each process's life when requests come through a proxy that nobody told the platform about.

    `headers` are the names of the request's header fields, in lower case or compared without case.
    """
    global _warned  # noqa: PLW0603 - once for each process
    if _warned or settings.TRUSTED_PROXIES or not any(name in headers for name in _OF_PROXIES):
        return
    _warned = True
    log_line(
        logger,
        "a request carried the header fields of a proxy, which are not read: if a proxy stands in front, the platform "
        "takes its address for every client's and its requests for plain HTTP; set TRUSTED_PROXIES to the number of "
        "proxies. Without a proxy a client wrote the fields itself, and nothing is wrong",
        level=logging.WARNING,
        header_fields=[name for name in _OF_PROXIES if name in headers],
    )
