"""Which addresses webhooks may reach: a guard against server-side request forgery.

A URL is checked when it is stored and before each request; every address that a connection is opened to is vetted
at that moment and then used as it is, so a name cannot be resolved to one address for the check and to another for
the connection. Sources of the refused networks: the IANA special-purpose address registries (RFC 6890), the
transition mechanisms named beside them, and the metadata addresses of the large clouds.
"""

import asyncio
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from django.conf import settings
from yarl import URL

from core import bounds
from delivery.webhooks.name_service import LookUp, NameService, SocketAddress, look_up_once
from rest.doors.shares import Budget, TooMuchError, busy
from rest.doors.threads import without_place

MAX_URL_LENGTH = 2048
# Of a name. An answer of the name service may hold thousands, and each is vetted, and tried while others refuse.
MAX_ADDRESSES = 64
# Whoever stores a URL waits for it.
CHECK_SECONDS = 2.0
_look_ups = Budget(total=bounds.MAX_LOOK_UPS, share=bounds.MAX_LOOK_UPS)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class UnsafeUrl(OSError, ValueError):  # noqa: N818 - a refusal, not a fault of the program
    """A URL, or an address that its host resolves to, is refused. It is an OSError so that aiohttp passes it on."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def _networks(*rows: tuple[str, str]) -> tuple[tuple[Network, str], ...]:
    return tuple((ip_network(network), reason) for reason, names in rows for network in names.split())


_REFUSED_IPV4 = _networks(
    ("a cloud metadata address", "169.254.169.254/32 100.100.100.200/32 168.63.129.16/32"),
    ("a loopback address", "127.0.0.0/8"),
    ("a private address", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16"),
    ("a link-local address", "169.254.0.0/16"),
    ("a shared address of carriers (CGNAT)", "100.64.0.0/10"),
    ("an unspecified address", "0.0.0.0/8"),
    ("a multicast address", "224.0.0.0/4"),
    ("a documentation or benchmarking address", "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 198.18.0.0/15"),
    ("a reserved address", "240.0.0.0/4 192.0.0.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.175.48.0/24"),
)
_REFUSED_IPV6 = _networks(
    ("a cloud metadata address", "fd00:ec2::254/128"),
    ("an unspecified address", "::/128"),
    ("a loopback address", "::1/128"),
    ("an IPv4 address in IPv6", "::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 2001::/32 2002::/16 64:ff9b::/96 64:ff9b:1::/48"),
    ("a private address", "fc00::/7"),
    ("a link-local address", "fe80::/10 fec0::/10"),
    ("a multicast address", "ff00::/8"),
    ("a documentation or benchmarking address", "2001:db8::/32 3fff::/20 2001:2::/48"),
    ("a reserved address", "2001::/23 2620:4f:8000::/48"),
)
# RFC 4291: the rest of the IPv6 space is not handed out.
_GLOBAL_IPV6 = ip_network("2000::/3")
# The prefix lengths after which RFC 4291, 3056, 6052 and 2765 write an IPv4 address; Teredo (RFC 4380) inverts it.
_EMBEDDING = (("::/96", 96), ("::ffff:0:0/96", 96), ("::ffff:0:0:0/96", 96), ("2002::/16", 16), ("64:ff9b::/96", 96))
_EMBEDDED_AT = tuple((IPv6Network(network), bits) for network, bits in _EMBEDDING)
_TEREDO = IPv6Network("2001::/32")
# ISATAP (RFC 5214) marks the interface id: an IPv4 address follows.
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


@dataclass(frozen=True, kw_only=True)
class NetworkPolicy:
    """`allow` wins over the built-in refusals, `deny` over `allow`; a network speaks for its own IP version only."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    allow_http: bool = False

    @classmethod
    def from_settings(cls) -> "NetworkPolicy":
        return cls(
            allow=tuple(settings.WEBHOOK_ALLOWED_NETWORKS),
            deny=tuple(settings.WEBHOOK_DENIED_NETWORKS),
            allow_http=settings.WEBHOOK_ALLOW_HTTP,
        )

    def refusal(self, address: Address) -> str | None:
        """Why nothing may be sent to the address; None when it may."""
        hidden = _embedded_ipv4(address)
        if _is_in(address, self.deny) or (hidden and _is_in(hidden, self.deny)):
            return "an address that this platform denies"
        if isinstance(address, IPv6Address) and address.scope_id:
            return "an address with a zone"
        if _is_in(address, self.allow):
            return None
        return _built_in_refusal(address)


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _built_in_refusal(address: Address) -> str | None:
    refused = _REFUSED_IPV4 if isinstance(address, IPv4Address) else _REFUSED_IPV6
    for network, reason in refused:
        if address in network:
            return reason
    if isinstance(address, IPv6Address):
        if address not in _GLOBAL_IPV6:
            return "a reserved address"
        return "an IPv4 address in IPv6" if _embedded_ipv4(address) else None
    return None


def _embedded_ipv4(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address of a transition mechanism leads to."""
    if isinstance(address, IPv4Address):
        return None
    number = int(address)
    for network, bits in _EMBEDDED_AT:
        if address in network:
            return IPv4Address((number >> (96 - bits)) & 0xFFFF_FFFF)
    if address in _TEREDO:
        return IPv4Address(~number & 0xFFFF_FFFF)
    if (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        return IPv4Address(number & 0xFFFF_FFFF)
    return None


# --- URLs ----------------------------------------------------------------------------------------------------

_URL = re.compile(r"(?P<scheme>[a-z]+)://(?P<authority>[^/?#]*)", re.IGNORECASE | re.ASCII)
# What RFC 3986 does not let stand in a path and a query; `[`, `]` and `|`, which browsers send as they are, may.
_ILLEGAL = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/?%|\[\]-]")
# Of the illegal characters that a refusal names.
_MAX_NAMED = 10
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:[0-9]{1,5})?", re.ASCII)
_NAME = re.compile(r"(?!.{254})[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
# The URL standard (WHATWG): a host whose last label is a number is an IPv4 address, in whatever notation.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# RFC 6761, 6762, 7686, 8375, and ICANN's name for private use.
_PRIVATE_NAMES = ("localhost", "local", "internal", "home.arpa", "onion", "test", "invalid")


def check_url(url: str, policy: NetworkPolicy) -> URL:
    """The URL as it will be requested, or UnsafeUrl. Nothing is resolved: that is vetted at connect time.

    What is returned went through the parser that aiohttp connects with, IDNA included, and its host is judged after
    it: two parsers that disagree about a URL are how such checks are passed. Path and query are sent as they are
    written, for they may be signed; the parser would write `%3A`, `'`, `..` and a `?` at the end in its own way.
    """
    _require_plain_text(url, policy)
    try:
        parsed = URL(url)
        host, port = parsed.raw_host, parsed.port
    except ValueError as error:
        raise UnsafeUrl("The URL is not valid.") from error
    if len(str(parsed)) > MAX_URL_LENGTH:
        raise UnsafeUrl(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if not port:
        raise UnsafeUrl("Port 0 does not exist.")
    _require_safe_host(host or "", policy)
    return _as_written(url, parsed)


def _as_written(url: str, parsed: URL) -> URL:
    """With the whole request target as its path, which nothing rewrites.

    A URL that was stored with illegal characters before they were refused is sent as it always was: percent-encoded
    by the parser, and without its fragment.
    """
    target = _target_of(url)
    if _ILLEGAL.search(target):
        return parsed
    path = target if target.startswith("/") else f"/{target}"
    return URL.build(scheme=parsed.scheme, authority=parsed.raw_authority, path=path, encoded=True)


def _target_of(url: str) -> str:
    """What follows scheme and authority."""
    match = _URL.match(url)
    return url[match.end() :] if match else url


def require_legal_characters(url: str) -> None:
    """UnsafeUrl that names what may not stand in the path and the query of a URL that is stored anew."""
    illegal = dict.fromkeys(_ILLEGAL.findall(_target_of(url)))
    if not illegal:
        return
    names = " ".join(list(illegal)[:_MAX_NAMED])
    percent = " Two hexadecimal digits follow a %." if "%" in illegal else ""
    raise UnsafeUrl(f"The URL holds characters that must be percent-encoded: {names}.{percent}")


def _require_plain_text(url: str, policy: NetworkPolicy) -> None:
    """The scheme and the form of the authority, before anything normalizes them."""
    if len(url) > MAX_URL_LENGTH:
        raise UnsafeUrl(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if not url.isprintable() or " " in url or "\\" in url:
        raise UnsafeUrl("The URL holds a space, a control character or a backslash.")
    match = _URL.match(url)
    if match is None:
        raise UnsafeUrl("The URL must be absolute: https://host/path.")
    if match["scheme"].lower() not in ("https", "http"):
        raise UnsafeUrl("The URL must begin with https://.")
    if match["scheme"].lower() == "http" and not policy.allow_http:
        raise UnsafeUrl("The URL must begin with https://; http is not allowed here.")
    if "@" in match["authority"]:
        raise UnsafeUrl("The URL must not hold a user name or a password.")
    if "%" in match["authority"]:
        raise UnsafeUrl("The host must not be percent-encoded or have a zone.")
    if _AUTHORITY.fullmatch(match["authority"]) is None:
        raise UnsafeUrl("The URL has no valid host and port.")


def _require_safe_host(host: str, policy: NetworkPolicy) -> None:
    """`host` is normalized: lower case, ASCII, without brackets."""
    if ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            address = ip_address(host)
        except ValueError as error:
            raise UnsafeUrl("The host is a number that is not a plain IP address.") from error
        if reason := policy.refusal(address):
            raise UnsafeUrl(f"The host is {reason}.")
        return
    if host.endswith("."):
        raise UnsafeUrl("The host must not end with a dot.")
    if _NAME.fullmatch(host) is None:
        raise UnsafeUrl("The host is not a valid name.")
    if not policy.allow and _is_private_name(host):
        raise UnsafeUrl("The host is a name of a private network.")


def _is_private_name(host: str) -> bool:
    """Only where no private network is allowed: elsewhere such names are what the allowed servers are called."""
    return "." not in host or host in _PRIVATE_NAMES or host.endswith(tuple(f".{name}" for name in _PRIVATE_NAMES))


# --- Names and connections -----------------------------------------------------------------------------------


def vet_socket_address(address: Sequence[Any], policy: NetworkPolicy) -> None:
    """UnsafeUrl unless a connection to this address of the socket module, `(host, port, …)`, is allowed."""
    try:
        vetted = ip_address(address[0])
    except ValueError as error:
        raise UnsafeUrl("The host resolves to something that is no address.") from error
    if len(address) == 4 and address[3]:
        raise UnsafeUrl("The host resolves to an address with a zone.")
    if reason := policy.refusal(vetted):
        raise UnsafeUrl(f"The host resolves to {reason}.")


def vet_addresses(found: Sequence[SocketAddress], policy: NetworkPolicy) -> None:
    """UnsafeUrl unless all that a name resolves to is allowed: one refused address is an attack or a slip."""
    if len(found) > MAX_ADDRESSES:
        raise UnsafeUrl(f"The host resolves to more than {MAX_ADDRESSES} addresses.")
    for address in found:
        vet_socket_address(address, policy)


class GuardedResolver(AbstractResolver):
    """Resolves names for aiohttp, and vets what comes of it.

    The addresses that are returned are those that are connected to; they are numeric, nothing resolves them again.
    Made in the event loop that uses it.
    """

    def __init__(self, policy: NetworkPolicy, *, look_up: LookUp | None = None) -> None:
        self._policy = policy
        self._service = None if look_up else NameService()
        self._look_up = look_up or self._service.look_up  # type: ignore[union-attr] # there is one of the two

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._look_up(host, port)
        if not found:
            raise OSError(None, f"{host} has no address")
        vet_addresses(found, self._policy)
        return [
            _resolved(host, port, address) for address in found if family in (socket.AF_UNSPEC, _family_of(address))
        ]

    async def close(self) -> None:
        if self._service is not None:
            await self._service.close()


def _family_of(address: SocketAddress) -> socket.AddressFamily:
    return socket.AF_INET6 if len(address) == 4 else socket.AF_INET


def _resolved(host: str, port: int, address: SocketAddress) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address[0],
        port=port,
        family=_family_of(address),
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


def guarded_socket(policy: NetworkPolicy, info: tuple[Any, ...]) -> socket.socket:
    """The socket factory of the connector: nothing is connected that did not pass here, literal addresses included."""
    family, kind, protocol, _, address = info
    vet_socket_address(address, policy)
    return socket.socket(family, kind, protocol)


def check_destination(url: str, policy: NetworkPolicy, *, look_up: LookUp = look_up_once) -> None:
    """`check_url`, its characters, and what its host resolves to now: whoever stores the URL is told at once.

    A name that does not resolve within CHECK_SECONDS passes: each request vets it again. Call it outside of a
    transaction and of an event loop: neither a connection to the database nor the request's place is held meanwhile.
    Raises Problem 503 when too many are being resolved.
    """
    parsed = check_url(url, policy)
    require_legal_characters(url)
    try:
        with without_place(_look_ups, keeps_share=True):
            found = asyncio.run(asyncio.wait_for(look_up(parsed.raw_host or "", parsed.port or 0), CHECK_SECONDS))
    except TooMuchError as error:
        raise busy("Too many names are being resolved") from error
    except OSError:  # a TimeoutError is one too
        return
    vet_addresses(found, policy)
