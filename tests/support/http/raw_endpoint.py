"""An endpoint that answers whatever bytes a test wants, on loopback, and for as long as anybody takes them."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import repeat

Answer = Callable[[], Iterator[bytes]]


def endless(begin: bytes, again: bytes) -> Answer:
    """`begin`, then `again` and again, in large pieces."""

    def answer() -> Iterator[bytes]:
        yield begin
        yield from repeat(again * (65_536 // len(again) + 1))

    return answer


@contextmanager
def answering(
    answer: Answer, *, context: ssl.SSLContext | None = None, heads: list[bytes] | None = None
) -> Iterator[str]:
    """Gives the address. Each request on a connection gets one answer, and `heads` the head of each."""
    seen = [] if heads is None else heads
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, answer, context, seen), daemon=True).start()
        port = listener.getsockname()[1]
        try:
            yield f"{'https' if context else 'http'}://127.0.0.1:{port}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, answer: Answer, context: ssl.SSLContext | None, heads: list[bytes]) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection, answer, context, heads), daemon=True).start()


def _serve(connection: socket.socket, answer: Answer, context: ssl.SSLContext | None, heads: list[bytes]) -> None:
    with connection, suppress(OSError):
        wrapped = context.wrap_socket(connection, server_side=True) if context else connection
        with wrapped:
            while _read_request(wrapped, heads):
                for piece in answer():
                    wrapped.sendall(piece)


def _read_request(connection: socket.socket, heads: list[bytes]) -> bool:
    """Whether there was one; its body has a length."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (piece := connection.recv(65_536)):
            return False
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65_536)
    heads.append(head)
    return True
