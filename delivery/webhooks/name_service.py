"""Asks the system's name servers, and its hosts file, without threads: one that hangs holds up only who asks it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiodns
from django.conf import settings

# Of a name server, which is asked twice, and of all of it.
_SERVER_SECONDS = 1.5
LOOK_UP_SECONDS = 5.0

# As the socket module writes them: `(address, port)`, for IPv6 with flow and zone.
SocketAddress = tuple[Any, ...]
LookUp = Callable[[str, int], Awaitable[list[SocketAddress]]]


_NO_SUCH_NAME = "The host name does not exist: check its spelling in the URL, and the DNS records of its domain."
_NO_ADDRESS = "The host name has no address: its domain needs an A or AAAA record for it."
_NO_ANSWER = f"The name servers gave no answer for the host name within {LOOK_UP_SECONDS:g} s."
_REFUSED = "The name servers of the domain could not answer for the host name."
_SENTENCES = {
    aiodns.error.ARES_ENOTFOUND: _NO_SUCH_NAME,
    aiodns.error.ARES_ENODATA: _NO_ADDRESS,
    aiodns.error.ARES_ETIMEOUT: _NO_ANSWER,
}


class NameServiceError(OSError):
    """A name could not be resolved; says why, in a sentence."""


class NameService:
    """Of one event loop, to be made and closed in it."""

    def __init__(self) -> None:
        servers = settings.WEBHOOK_NAME_SERVERS or None
        self._resolver = aiodns.DNSResolver(servers, timeout=_SERVER_SECONDS, tries=2)

    async def look_up(self, host: str, port: int) -> list[SocketAddress]:
        """The addresses of the host, with the port. Raises NameServiceError, also when there is no answer in time."""
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                answer = await self._resolver.getaddrinfo(host, port=port, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            # Not the TimeoutError itself: it would count as the endpoint's.
            raise NameServiceError(_NO_ANSWER) from error
        except aiodns.error.DNSError as error:
            raise NameServiceError(_SENTENCES.get(error.args[0], _REFUSED)) from error
        if not answer.nodes:
            raise NameServiceError(_NO_ADDRESS)
        return [(node.addr[0].decode(), *node.addr[1:]) for node in answer.nodes]

    async def close(self) -> None:
        await self._resolver.close()


async def look_up_once(host: str, port: int) -> list[SocketAddress]:
    """By a name service for this one question."""
    service = NameService()
    try:
        return await service.look_up(host, port)
    finally:
        await service.close()
