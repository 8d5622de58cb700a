"""What web servers and the process that checks schemas say to each other, in MessagePack."""

import socket
import struct
from typing import Any

import msgspec

from core.field_errors import FieldError

# In front of each message.
_LENGTH = struct.Struct("!I")


class Question(msgspec.Struct, array_like=True, gc=False):
    """Events of one organization, each with the number of its schema among `schemas`; all are JSON texts.

    `asserting` are the numbers of those whose formats have to fit. Without events, whether the schemas can be saved.
    """

    organization: str
    schemas: list[str]
    events: list[tuple[int, str]]
    asserting: frozenset[int] = frozenset()


class Reply(msgspec.Struct, array_like=True, gc=False):
    """What is wrong with the first events, mostly all; those behind them were not looked at. And the CPU time.

    `refusals` has code and sentence for each schema that was used, if it cannot be.
    """

    findings: list[tuple[FieldError, ...]]
    refusals: list[tuple[str, str] | None]
    seconds: float


def send(connection: socket.socket, message: msgspec.Struct) -> None:
    body = msgspec.msgpack.encode(message)
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(connection: socket.socket, kind: type[Any]) -> Any:
    """The next message, a `kind`. Raises EOFError at the end, and OSError."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return msgspec.msgpack.decode(_exactly(connection, length), type=kind)


def _exactly(connection: socket.socket, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        part = connection.recv(min(length - len(found), 1 << 20))
        if not part:
            raise EOFError
        found += part
    return bytes(found)
