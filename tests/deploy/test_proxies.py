"""deploy/nginx.conf and deploy/Caddyfile in the real proxies: what they answer themselves is as the API answers."""

import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.deployment import DEPLOY
from tests.support.http.certificates import self_signed
from tests.support.servers import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

_NAME = "events.example.com"
_NGINX = """
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site;
}}
"""


class Proxy:
    def __init__(self, port: int, client: ssl.SSLContext) -> None:
        self._port = port
        self._client = client

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection(_NAME)
        plain = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        connection.sock = self._client.wrap_socket(plain, server_hostname=_NAME)
        given = {"Host": _NAME, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.request("GET" if body is None else "POST", path, body, given)
        answer = connection.getresponse()
        return answer, answer.read()

    def answers(self) -> bool:
        try:
            self.ask("/")
        except OSError:
            return False
        return True


@contextmanager
def nginx(folder: Path, port: int, web: int) -> Iterator[None]:
    site = (DEPLOY / "nginx.conf").read_text()
    site = site.replace("/etc/ssl/events.example.com/fullchain.pem", f"{folder}/certificate.pem")
    site = site.replace("/etc/ssl/events.example.com/privkey.pem", f"{folder}/certificate.pem")
    lines = [line for line in site.splitlines() if "listen [::]" not in line]
    site = "\n".join(lines).replace("listen 80", f"listen 127.0.0.1:{free_port()}")
    site = site.replace("listen 443", f"listen 127.0.0.1:{port}").replace("127.0.0.1:8000", f"127.0.0.1:{web}")
    (folder / "site").write_text(site)
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder))
    with running(["nginx", "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf", "-g", "daemon off;"], folder):
        yield


@contextmanager
def caddy(folder: Path, port: int, web: int) -> Iterator[None]:
    tls = f"tls {folder}/certificate.pem {folder}/certificate.pem"
    site = (DEPLOY / "Caddyfile").read_text().replace("127.0.0.1:8000", f"127.0.0.1:{web}")
    site = site.replace(f"{_NAME} {{", f"https://{_NAME}:{port} {{\n\tbind 127.0.0.1\n\t{tls}", 1)
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https off\n}}\n{site}")
    with running(["caddy", "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"], folder):
        yield


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[None]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={"HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/bin"}
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(params=[nginx, caddy])
def proxy(request: pytest.FixtureRequest) -> Iterator[tuple[Proxy, int]]:
    """A proxy, and the port on which it looks for a web server."""
    # nginx's workers are another user, who may not enter pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="events-proxy-") as name:
        folder, port, web = Path(name), free_port(), free_port()
        folder.chmod(0o755)
        _, client = self_signed(folder, _NAME)
        proxy = Proxy(port, client)
        with request.param(folder, port, web):
            wait_until(proxy.answers)
            yield proxy, web


def test_programs_get_a_problem_and_people_a_page_while_no_web_server_answers(proxy: tuple[Proxy, int]) -> None:
    asked, _ = proxy
    answer, body = asked.ask("/api/v1/events", b"{}")
    assert (answer.status, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert int(answer.headers["Retry-After"]) > 0
    problem = json.loads(body)
    assert (problem["code"], problem["status"]) == ("service_unavailable", 503)
    assert problem["request_id"] == answer.headers["Request-Id"]

    answer, body = asked.ask("/console/", Accept="text/html,*/*;q=0.8")
    assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (503, "text/html")
    assert b"Try again" in body
    assert answer.headers["Retry-After"]


def test_a_body_that_is_too_large_is_a_problem_and_a_batch_passes(proxy: tuple[Proxy, int]) -> None:
    asked, web = proxy
    with web_server(web):
        answer, body = asked.ask("/api/v1/events/batch", b" " * (6 * 1024 * 1024 + 1))
        assert (answer.status, answer.headers["Content-Type"]) == (413, "application/problem+json"), body
        assert json.loads(body)["code"] == "payload_too_large"
        answer, body = asked.ask("/api/v1/events/batch", b" " * (5 * 1024 * 1024))
        assert (answer.status, body) == (202, b"5242880")


def test_metrics_are_closed_and_the_client_cannot_choose_its_address(proxy: tuple[Proxy, int]) -> None:
    asked, web = proxy
    with web_server(web):
        assert asked.ask("/metrics")[0].status == 404
        seen = asked.ask("/seen", X_Forwarded_For="203.0.113.66", X_Forwarded_Proto="http")[1]
        assert json.loads(seen) == ["127.0.0.1", "https", _NAME]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self._answer(202, str(len(self.rfile.read(int(self.headers["Content-Length"])))))

    def do_GET(self) -> None:
        seen = [self.headers[name] for name in ("X-Forwarded-For", "X-Forwarded-Proto", "Host")]
        self._answer(200, json.dumps(seen))

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@contextmanager
def web_server(port: int) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", port), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()
