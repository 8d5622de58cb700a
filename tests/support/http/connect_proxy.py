"""An HTTP proxy on loopback that only knows CONNECT, and remembers what it was asked for."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class ConnectProxy:
    """`asked`: the targets, as they came. `status`: what it answers in place of opening a tunnel, unless it is 200."""

    url: str = ""
    status: int = 200
    asked: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)


@contextmanager
def proxying() -> Iterator[ConnectProxy]:
    """In threads, on a free port of 127.0.0.1."""
    proxy, server = ConnectProxy(), socket.create_server(("127.0.0.1", 0))
    proxy.url = f"http://127.0.0.1:{server.getsockname()[1]}"

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                threading.Thread(target=_serve, args=(proxy, client), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield proxy
    finally:
        server.close()


def _serve(proxy: ConnectProxy, client: socket.socket) -> None:
    with client, contextlib.suppress(OSError):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(4096)
        first, *lines = head.decode().split("\r\n")
        method, target, _ = first.split(" ")
        assert method == "CONNECT"
        proxy.asked.append(target)
        proxy.authorizations += [line.partition(": ")[2] for line in lines if line.startswith("Proxy-Authorization")]
        client.sendall(f"HTTP/1.1 {proxy.status} Whatever\r\nVia: test\r\n\r\n".encode())
        if proxy.status == 200:
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as far:
                threading.Thread(target=_pump, args=(far, client), daemon=True).start()
                _pump(client, far)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
