"""A server that can go away, be slow or be replaced: a proxy in front of it, on TCP."""

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from django.db import connection


class Proxy:
    """Passes bytes both ways between clients of `listener` and what `connect` connects to.

    `cut` drops all connections and refuses new ones, `hang` passes nothing on; `delay` is in seconds for each answer.
    `lose` is a failover: what is connected hears nothing any more, not even an end; who connects anew is served.
    """

    def __init__(self, connect: Callable[[], socket.socket], listener: socket.socket | None = None) -> None:
        self.connect = connect
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.delay = 0.0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lost: set[socket.socket] = set()
        self._refusing = False
        self._passing = threading.Event()
        self._passing.set()
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._refusing = True
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def hang(self) -> None:
        self._passing.clear()

    def lose(self) -> None:
        self._lost.update(end for pair in self._pairs for end in pair)

    def restore(self) -> None:
        self._refusing = False
        self._passing.set()

    def close(self) -> None:
        self.cut()
        self._passing.set()
        self._closed.set()
        self._listener.close()

    def clients(self) -> list[int]:
        """The ports that connections came from, those that have ended among them."""
        ports = []
        for client, _ in self._pairs:
            with suppress(OSError):
                ports.append(client.getpeername()[1])
        return ports

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                server = self.connect()
            except OSError:
                client.close()
                continue
            self._pairs.append((client, server))
            threading.Thread(target=self._pass, args=(client, server), daemon=True).start()

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, client, server, suppress(OSError):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    assert isinstance(key.fileobj, socket.socket)
                    part = key.fileobj.recv(65536)
                    self._passing.wait()
                    if client in self._lost:
                        self._closed.wait()
                        return
                    if not part:
                        return
                    if self.delay and key.fileobj is server:
                        time.sleep(self.delay)
                    key.data.sendall(part)


class PostgresProxy(Proxy):
    """In front of the test's own server, over a Unix socket or TCP."""

    def __init__(self) -> None:
        super().__init__(_connect)

    @property
    def url(self) -> str:
        settings = connection.settings_dict
        return f"postgresql://{quote(settings['USER'])}@127.0.0.1:{self.port}/{quote(settings['NAME'])}"


def _connect() -> socket.socket:
    settings = connection.settings_dict
    host, port = settings["HOST"], int(settings["PORT"] or 5432)
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    return connected_to(Path(host, f".s.PGSQL.{port}"))


def connected_to(path: Path) -> socket.socket:
    """A connection to a Unix socket."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(str(path))
    return server


@contextmanager
def postgres_proxy() -> Iterator[PostgresProxy]:
    proxy = PostgresProxy()
    try:
        yield proxy
    finally:
        proxy.close()
