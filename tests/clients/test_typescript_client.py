"""The TypeScript client: built from the platform's own document, its README run as it stands, its retries."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from delivery.webhooks.signing import generate_secret, public_key, secret_key, sign
from ingestion.models import Event
from ingestion.operations import process_outbox
from tests.support.http.clients import Client, make_sender
from tests.support.servers import free_port, serve

pytestmark = pytest.mark.slow

SEND, BUFFER, READ, CONSUME, VERIFY = range(5)
SECONDS = 60


def node(package: Path, script: str, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["node", script],
        cwd=package,
        env={**os.environ, **environ},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def output(process: "subprocess.Popen[str]") -> list[str]:
    """Its lines, once it has ended well."""
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, out + err
    return out.splitlines()


@pytest.mark.django_db(transaction=True)
def test_the_readme_works(package: Path) -> None:
    with serve(workers=1) as server:
        sender = make_sender(server.base_url)
        known = {"EVP_URL": server.base_url, "EVP_API_KEY": str(sender.client.key)}
        assert [line.split()[1] for line in output(node(package, f"examples/{SEND}.js", **known))] == ["false"]
        assert [line.split()[1] for line in output(node(package, f"examples/{SEND}.js", **known))] == ["true"]
        assert output(node(package, f"examples/{BUFFER}.js", **known)) == ["300"]
        assert Event.objects.count() == 301
        while process_outbox():
            pass
        assert output(node(package, f"examples/{READ}.js", **known)) == ["invoice.paid inv_1 { amount: 12900 } 0"]
        consumer = node(package, f"examples/{CONSUME}.js", **known)
        assert consumer.stdout is not None
        consumed = [consumer.stdout.readline() for _ in range(301)]
        assert consumed[0] == "invoice.paid { amount: 12900 }\n"
        consumer.send_signal(signal.SIGTERM)
        assert output(consumer) == []
        assert sender.client.get("/api/v1/inbox").json()["data"] == []


@pytest.mark.parametrize("signature", ["v1", "v1a"])
def test_webhooks_are_verified(package: Path, signature: str) -> None:
    secret, port = generate_secret(signature), free_port()
    known = public_key(secret) or secret
    body = '{"id":"1","type":"invoice.paid","timestamp":"2026-11-24T11:00:00.000000Z","data":"Zoë"}'.encode()
    process = node(package, f"examples/{VERIFY}.js", PORT=str(port), WEBHOOK_SECRET=known)
    try:
        for sent, age, status in ((body, 0, 204), (body + b" ", 0, 400), (body, 3600, 400), (None, 0, 400)):
            moment = int(time.time()) - age
            headers = {
                "webhook-id": "1",
                "webhook-timestamp": str(moment),
                "webhook-signature": "v1,AAAA v1a,AAAA " + sign([secret_key(secret)], "1", moment, body),
            }
            assert ask(port, sent or body, headers if sent else {}) == status
    finally:
        process.terminate()
    assert process.communicate()[0] == "invoice.paid Zoë\n"


def ask(port: int, body: bytes, headers: dict[str, str]) -> int:
    """The status, as soon as it listens."""
    for _ in range(SECONDS * 10):
        try:
            return Client(f"http://127.0.0.1:{port}", None).post("/", body, **headers).status
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise TimeoutError


class Streaming(BaseHTTPRequestHandler):
    """Streams that end, each after its events."""

    streams: ClassVar[list[list[str]]] = [["1"], [], ["2", "3"]]
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("last-event-id"))
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for number in self.streams[len(self.asked) - 1] if len(self.asked) <= len(self.streams) else []:
            self.wfile.write(f'id: {number}\nevent: event\ndata: {{"id":"{number}","data":"Zoë"}}\n\n:\n\n'.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_stream_goes_on_after_its_last_event(package: Path) -> None:
    (package / "examples/follow.js").write_text(
        "import { Client } from 'events-platform-client';\n"
        "for await (const { id, data } of new Client().events.stream({ type: 'a.*' })) {\n"
        "  console.log(id, data);\n"
        "  if (id === '3') break;\n"
        "}\n"
    )
    with served(Streaming) as url:
        lines = output(node(package, "examples/follow.js", EVP_URL=url, EVP_API_KEY="k"))
    assert lines == ["1 Zoë", "2 Zoë", "3 Zoë"]
    assert Streaming.asked == [None, "1", "1"]


class Moody(BaseHTTPRequestHandler):
    """Breaks off, is busy, refuses in another form, and then takes the event."""

    bodies: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        match len(self.bodies):
            case 1:
                self.connection.close()
            case 2:
                self._answer(429, b"{}", ("Retry-After", "1"))
            case 3:
                self._answer(502, b"<html>")
            case 4:
                self._answer(202, b'{"id":"1","status":"accepted"}')
            case _:
                self._answer(422, b'{"code":"validation_failed","status":422,"detail":"wrong"}')

    def _answer(self, status: int, body: bytes, *fields: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*fields, ("Content-Length", str(len(body))), ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_an_event_is_sent_again_under_its_key_until_it_is_taken(package: Path) -> None:
    (package / "examples/again.js").write_text(
        "import { Client } from 'events-platform-client';\n"
        "const { events } = new Client();\n"
        "const started = Date.now();\n"
        "const { status } = await events.send('t', 1);\n"
        "console.log(status, Date.now() - started >= 1000);\n"
        "await events.send('t', 2).catch((error) => console.log(error.name, error.code, error.status));\n"
    )
    with served(Moody) as url:
        lines = output(node(package, "examples/again.js", EVP_URL=url, EVP_API_KEY="k"))
    assert lines == ["accepted true", "ApiError validation_failed 422"]
    assert len(Moody.bodies) == 5
    assert len({body["idempotency_key"] for body in Moody.bodies[:4]}) == 1
    assert {body["data"] for body in Moody.bodies[:4]} == {1}
