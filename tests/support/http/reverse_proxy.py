"""A small reverse proxy on loopback, with TLS, that makes the mistakes of real ones."""

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

CLIENT = "198.51.100.7"


@dataclass
class Behaviour:
    """`forwarded_for`: `replace`, `append`, `pass` (as the client sent it), `two` (as two proxies), or `drop`."""

    upstream: str = ""
    forwarded_for: str = "replace"
    sets_proto: bool = True
    passes_host: bool = True
    largest_body: int = 6 * 1024 * 1024
    hides_metrics: bool = True
    redirects: bool = True


class ReverseProxy:
    """`port` has TLS, `http_port` has not; `behaviour` may be replaced while it runs."""

    def __init__(self, certificate: ssl.SSLContext, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._https = _server(self._handler(plain=False))
        self._https.socket = certificate.wrap_socket(self._https.socket, server_side=True)
        self._http = _server(self._handler(plain=True))
        self.port, self.http_port = self._https.server_address[1], self._http.server_address[1]
        for server in (self._https, self._http):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        for server in (self._https, self._http):
            server.shutdown()
            server.server_close()

    def _handler(self, *, plain: bool) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if plain and proxy.behaviour.redirects:
                    self.send_response(308)
                    self.send_header("Location", f"https://{self.headers['Host']}{self.path}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif plain:
                    _answer(self, 200, b"hello")
                else:
                    _pass_on(self, proxy.behaviour)

            do_POST = do_GET  # noqa: N815 - the name that it is looked for by

            def log_message(self, *arguments: Any) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: Any) -> None:
        """Clients that do not trust the certificate go away."""


def _server(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    return _Server(("127.0.0.1", 0), handler)


def _pass_on(request: BaseHTTPRequestHandler, behaviour: Behaviour) -> None:
    length = int(request.headers.get("Content-Length") or 0)
    if length > behaviour.largest_body:
        _answer(request, 413, b"<html>413 Request Entity Too Large</html>")
        with suppress(OSError):
            request.rfile.read(length)
        return
    if request.path == "/metrics" and behaviour.hides_metrics:
        _answer(request, 404, b"")
        return
    body = request.rfile.read(length)
    upstream = urlsplit(behaviour.upstream)
    connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=20)
    try:
        connection.request(request.command, request.path, body=body or None, headers=_headers(request, behaviour))
        answer = connection.getresponse()
        _answer(request, answer.status, answer.read(), location=answer.getheader("Location"))
    except OSError:
        _answer(request, 502, b"<html>502 Bad Gateway</html>")
    finally:
        connection.close()


def _headers(request: BaseHTTPRequestHandler, behaviour: Behaviour) -> dict[str, str]:
    ours = ("host", "x-forwarded-for", "connection", "content-length")
    headers = {name: value for name, value in request.headers.items() if name.lower() not in ours}
    if behaviour.passes_host:
        headers["Host"] = request.headers["Host"]
    if behaviour.sets_proto:
        headers["X-Forwarded-Proto"] = "https"
    given = request.headers.get("X-Forwarded-For")
    told = {
        "replace": CLIENT,
        "append": f"{given}, {CLIENT}" if given else CLIENT,
        "two": f"{given}, {CLIENT}, 192.0.2.1" if given else f"{CLIENT}, 192.0.2.1",
        "pass": given,
        "drop": None,
    }[behaviour.forwarded_for]
    return headers if told is None else {**headers, "X-Forwarded-For": told}


def _answer(request: BaseHTTPRequestHandler, status: int, body: bytes, *, location: str | None = None) -> None:
    request.close_connection = True
    with suppress(OSError):
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        if location:
            request.send_header("Location", location)
        request.end_headers()
        request.wfile.write(body)


@contextmanager
def reverse_proxy(certificate: ssl.SSLContext, behaviour: Behaviour) -> Iterator[ReverseProxy]:
    proxy = ReverseProxy(certificate, behaviour)
    try:
        yield proxy
    finally:
        proxy.close()
