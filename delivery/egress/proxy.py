"""Connections through a proxy, by HTTP CONNECT (RFC 9110, 9.3.6) to the address that was vetted.

The proxy is asked for an address, never for a name: it would resolve that to what nobody has vetted. It is the
operator's, so its own address is not vetted.
"""

import asyncio
import errno
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler

from delivery.webhooks.answers import BoundedAnswer, BoundedConnector

# A proxy answers a CONNECT with a few fields.
_MAX_HEAD_BYTES = 8192


class ProxyFailure(OSError):  # noqa: N818 - of the proxy, not of the program
    """The proxy opens no connection; `reason` is a sentence for people."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """`authorization` is the value of Proxy-Authorization; empty for none."""

    host: str
    port: int
    authorization: str

    @classmethod
    def from_url(cls, url: str) -> Self | None:
        """From `http://[user:password@]host:port`; None for an empty one."""
        if not url:
            return None
        parts = urlsplit(url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        basic = f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}" if parts.username else ""
        return cls(host=parts.hostname or "", port=parts.port or 3128, authorization=basic)


class TunnelingConnector(BoundedConnector):
    """Whose connections go through the proxy. `socket_factory` vets each address, as it does without one."""

    def __init__(self, *, proxy: Proxy, **options: Any) -> None:
        super().__init__(**options)
        self._through = proxy

    async def _wrap_create_connection(
        self,
        *args: Any,
        addr_infos: list[Any],
        req: aiohttp.ClientRequest,
        timeout: aiohttp.ClientTimeout,
        client_error: type[Exception] = aiohttp.ClientConnectorError,
        **kwargs: Any,
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        """In place of the connection to one of the addresses: aiohttp goes on with the next one if this one fails."""
        try:
            assert self._socket_factory is not None  # noqa: S101 - whoever makes the connector gives one
            self._socket_factory(addr_infos[0]).close()
            address = addr_infos[0][4]
            tunnel = await open_tunnel(self._through, str(address[0]), int(address[1]))
        except OSError as error:
            raise client_error(req.connection_key, error) from error
        transport, protocol = await super()._wrap_existing_connection(
            *args, sock=tunnel, req=req, timeout=timeout, client_error=client_error, **kwargs
        )
        if isinstance(protocol, BoundedAnswer):
            protocol.tunneled_to = str(address[0])
        return transport, protocol


async def open_tunnel(proxy: Proxy, address: str, port: int) -> socket.socket:
    """A socket on which the far end is this address. Raises ProxyFailure, or OSError where the far end is to blame."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ProxyFailure("The platform's proxy has no address.") from error
    family, kind, protocol, _, proxy_address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setblocking(False)  # noqa: FBT003 - the system's own form
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with _on_the_way("The platform's proxy cannot be reached."):
            await loop.sock_connect(made, proxy_address)
            await loop.sock_sendall(made, _request(proxy, address, port))
            status = _status(await _read_head(made))
    except BaseException:
        made.close()
        raise
    if status in (502, 503, 504):
        made.close()
        raise OSError(errno.EHOSTUNREACH, "the proxy cannot reach the address")
    if status != 200:
        made.close()
        raise ProxyFailure(f"The platform's proxy refused the connection: it answered {status}.")
    return made


@contextmanager
def _on_the_way(reason: str) -> Iterator[None]:
    """What the system raises there is no failure of the endpoint."""
    try:
        yield
    except (ProxyFailure, TimeoutError):
        raise
    except OSError as error:
        raise ProxyFailure(reason) from error


def _request(proxy: Proxy, address: str, port: int) -> bytes:
    far_end = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    lines = [f"CONNECT {far_end} HTTP/1.1", f"Host: {far_end}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _read_head(made: socket.socket) -> bytes:
    """Nothing follows it: the far end of a tunnel waits for the first word."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = await asyncio.get_running_loop().sock_recv(made, _MAX_HEAD_BYTES)
        head += part
        if not part or len(head) > _MAX_HEAD_BYTES:
            raise ProxyFailure("The platform's proxy did not answer as a proxy does.")
    return head


def _status(head: bytes) -> int:
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ProxyFailure("The platform's proxy did not answer as a proxy does.")
    return int(words[1])
