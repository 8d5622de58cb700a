"""What the tests of the client share: a server that answers as a test says, and a client of either kind."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from events_client import AsyncClient, Client

KEY = "evp_test_key"


@dataclass(frozen=True)
class Request:
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def events(self) -> list[dict[str, Any]]:
        """What a batch holds."""
        events: list[dict[str, Any]] = json.loads(self.body)
        return events


@dataclass(frozen=True)
class Answer:
    """A status, a body that is sent as JSON unless it is bytes, headers; `broken` closes the connection instead."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    broken: bool = False


def problem(status: int, code: str, **headers: str) -> Answer:
    """An error as the platform tells it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"type": "about:blank", "title": code, "status": status, "detail": f"{code}.", "code": code}
    return Answer(status, {**body, "request_id": "r-1"}, {"Content-Type": "application/problem+json", **named})


def accepted(request: Request) -> Answer:
    """As the platform takes one event or a batch."""
    if request.path.endswith("/batch"):
        events = request.events()
        results = [{"index": index, "id": str(index), "status": "accepted"} for index in range(len(events))]
        return Answer(202, {"accepted": len(events), "duplicates": 0, "rejected": 0, "results": results})
    event = json.loads(request.body)
    told = {"id": "e-1", "type": event["type"], "status": "accepted", "duplicate": False}
    return Answer(202, {**told, "received_at": "2026-11-23T10:00:00.000000Z"})


class Server:
    """Gives the answers of `script` in turn, then those of `otherwise`; `requests` are what arrived."""

    def __init__(self) -> None:
        self.script: deque[Answer] = deque()
        self.otherwise: Callable[[Request], Answer] = accepted
        self.requests: list[Request] = []
        self.url = ""

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        return self.script.popleft() if self.script else self.otherwise(request)

    def sent(self) -> list[dict[str, Any]]:
        """All events that arrived in batches, in their order."""
        return [event for request in self.requests if request.path.endswith("/batch") for event in request.events()]


@pytest.fixture
def server() -> Iterator[Server]:
    scripted = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = scripted.answer(Request(self.command, self.path, headers, body))
            if answer.broken:
                self.close_connection = True
                return
            content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = do_DELETE = do_POST  # noqa: N815 - the names of BaseHTTPRequestHandler

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    scripted.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield scripted
    httpd.shutdown()
    httpd.server_close()


Do = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest, server: Server) -> Do:
    """`do(lambda client: client.events.send(…))` with a client of either kind; options go to the client."""

    def with_client(operation: Callable[[Any], Any], **options: Any) -> Any:
        if request.param == "sync":
            with Client(server.url, KEY, **options) as client:
                return operation(client)

        async def run() -> Any:
            async with AsyncClient(server.url, KEY, **options) as client:
                return await operation(client)

        return asyncio.run(run())

    return with_client


@pytest.fixture
def platform() -> Iterator[Client]:
    """A client of the started platform that EVP_URL and EVP_API_KEY name; without them its tests are skipped."""
    if not os.environ.get("EVP_URL"):
        pytest.skip("EVP_URL names no started platform")
    with Client() as client:
        yield client
