"""A PostgreSQL that can go away: a proxy in front of the test's server, over a Unix socket or TCP, on TCP."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from django.db import connection


class Proxy:
    """Passes bytes both ways. `cut` drops all connections and refuses new ones, `hang` passes nothing on.

    `lose` is a failover: what is connected hears nothing any more, not even an end; who connects anew is served.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lost: set[socket.socket] = set()
        self._refusing = False
        self._passing = threading.Event()
        self._passing.set()
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        settings = connection.settings_dict
        return f"postgresql://{quote(settings['USER'])}@127.0.0.1:{self.port}/{quote(settings['NAME'])}"

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

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            server = _connect()
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
                    key.data.sendall(part)


def _connect() -> socket.socket:
    settings = connection.settings_dict
    host, port = settings["HOST"], int(settings["PORT"] or 5432)
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    server = socket.socket(socket.AF_UNIX)
    server.connect(str(Path(host, f".s.PGSQL.{port}")))
    return server


@contextmanager
def postgres_proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    try:
        yield proxy
    finally:
        proxy.close()
