"""Servers and consumers are killed in the middle: each client handles every event, and is told of what it repeats."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from events_client import Client, verify_webhook

from events_platform.up.processes import wait_until
from tests.clients.programs import environment
from tests.support.machines.platforms import START_SECONDS, Platform

pytestmark = pytest.mark.slow

SECONDS = 600
EVENTS = 600
# A web server, a worker and Redis, one after the other, and what consumes in Python.
KILLED = {50: "web", 250: "worker", 300: "consumer", 450: "valkey"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_PYTHON = """
import sys
from events_client import Client
def handle(event):
    which = "again" if event.leases > 1 else "first"
    sys.stdout.write(f"{event.data} {which}\\n")
    sys.stdout.flush()
with Client() as client:
    client.inbox(sys.argv[1]).consume(handle, lease_seconds=3, concurrency=4)
"""
_TYPESCRIPT = """
import { writeSync } from "node:fs";
import { Client } from "events-platform-client";
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
const handle = ({ data, leases }) => writeSync(1, `${data} ${leases > 1 ? "again" : "first"}\\n`);
const options = { leaseSeconds: 3, concurrency: 4, signal: stop.signal };
await new Client().inbox(process.argv[2]).consume(handle, options);
"""


@pytest.fixture
def typescript(request: pytest.FixtureRequest) -> list[str]:
    """How to run the consumer in TypeScript; empty where there is no Node.js to build the client with."""
    try:
        package: Path = request.getfixturevalue("package")
    except pytest.skip.Exception:
        return []
    script = package / "examples/consume-under-kills.js"
    script.write_text(_TYPESCRIPT)
    return ["node", str(script)]


def test_nothing_is_lost_while_servers_and_consumers_are_killed(
    platform: Platform, typescript: list[str], tmp_path: Path
) -> None:
    """Neither for consumers in Python, which is killed too, and TypeScript, nor for `evp listen`."""
    demo = platform.demo()
    with Client(demo["base_url"], demo["api_key"]) as client, ExitStack() as running:
        python = Consumer(platform, client, "killed-and-well", [sys.executable, "-c", _PYTHON], tmp_path)
        consumers = [python]
        if typescript:
            consumers.append(Consumer(platform, client, "well-in-typescript", typescript, tmp_path))
        followers: list[Consumer | Listener] = [*consumers, Listener(platform, client)]
        for follower in followers:
            running.enter_context(follower.running())
        with client.events.buffer(max_events=20) as buffer:
            for number in range(EVENTS):
                buffer.send("kill.test", number)
                if name := KILLED.get(number):
                    buffer.flush(SECONDS)
                    if name == "consumer":
                        python.kill()
                    else:
                        _kill(platform, name)
        for follower in followers:
            _wait_until_handled(client, follower)
            wait_until(partial(_is_empty, client, follower.inbox), seconds=60)
    for consumer in consumers:
        # Who gets an event once more is told so: nobody hears twice that it is the first time.
        firsts = [number for number, which in consumer.lines() if which == "first"]
        assert len(firsts) == len(set(firsts)), consumer.inbox


@dataclass
class Consumer:
    """A program that consumes an inbox and writes down what it handled."""

    platform: Platform
    client: Client
    inbox: str
    command: list[str]
    folder: Path

    @contextmanager
    def running(self) -> Iterator[None]:
        self.client.subscriptions.create_inbox(self.inbox, event_types=["kill.*"])
        self._start()
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(60) == 0

    def kill(self) -> None:
        """And start it again."""
        self.process.kill()
        self.process.wait()
        self._start()

    def _start(self) -> None:
        with (self.folder / self.inbox).open("a") as file:
            self.process = subprocess.Popen([*self.command, self.inbox], env=environment(self.platform), stdout=file)

    def seen(self) -> set[int]:
        return {int(number) for number, _ in self.lines()}

    def lines(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / self.inbox).read_text().splitlines()]


class Listener:
    """`evp listen`; it has its inbox when the block begins, and none after it."""

    def __init__(self, platform: Platform, client: Client) -> None:
        self._platform, self._client = platform, client
        self._receiver = Receiver()

    @property
    def inbox(self) -> str:
        """Empty when there is none."""
        names = [each.name for each in self._client.subscriptions.list(kind="inbox")]
        return next((name for name in names if name.startswith("evp-listen-")), "")

    def seen(self) -> set[int]:
        return self._receiver.seen

    @contextmanager
    def running(self) -> Iterator[None]:
        url = f"http://127.0.0.1:{self._receiver.server_port}/"
        command = ("listen", "--forward", url, "--types", "kill.*", "--secret", SECRET, "--json")
        with self._receiver:
            threading.Thread(target=self._receiver.serve_forever, daemon=True).start()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "events_client.cli.main", *command],
                env=environment(self._platform),
                stdout=subprocess.DEVNULL,
            )
            try:
                wait_until(lambda: self.inbox != "", seconds=60)
                yield
            finally:
                self.process.send_signal(signal.SIGINT)
                assert self.process.wait(60) == 0
                self._receiver.shutdown()
        assert self.inbox == ""


class Receiver(ThreadingHTTPServer):
    """Takes webhooks that are signed with SECRET; `seen` are their numbers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Webhooks)
        self.seen: set[int] = set()


class _Webhooks(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.add(verify_webhook(body, dict(self.headers), SECRET)["data"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _kill(platform: Platform, name: str) -> None:
    """With no time to say anything; the supervisor starts it again."""
    before = _pid(platform, name)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: _pid(platform, name) not in {before, 0} and platform.is_live(), seconds=START_SECONDS)


def _pid(platform: Platform, name: str) -> int:
    """The embedded servers are not recorded; 0 while it is not there."""
    if name != "valkey":
        return platform.pid(name)
    children = psutil.Process(platform.process.pid).children()
    return next((child.pid for child in children if child.name() == "valkey-server"), 0)


def _is_empty(client: Client, inbox: str) -> bool:
    return next(client.inbox(inbox).list(page_size=1), None) is None


def _wait_until_handled(client: Client, follower: Consumer | Listener) -> None:
    ends = time.monotonic() + SECONDS
    while missing := {*range(EVENTS)} - follower.seen():
        assert follower.process.poll() is None, f"{follower.inbox} has ended by itself"
        assert time.monotonic() < ends, _whereabouts(client, follower.inbox, missing)
        time.sleep(0.2)


def _whereabouts(client: Client, name: str, missing: set[int]) -> str:
    """What the platform says of the events that nobody handled: lost before it stored them, or within it, or after."""
    subscription = next(each.id for each in client.subscriptions.list(kind="inbox") if each.name == name)
    stored = {event.data: event.id for event in client.events.list(type="kill.test")}
    lines = [f"{len(missing)} events were never handled; the platform stored {len(stored)}."]
    for number in sorted(missing):
        event = client.events.get(stored[number]) if number in stored else None
        deliveries = [each for each in event.deliveries if each.subscription == subscription] if event else []
        lines.append(f"{number}: {event.status if event else 'not stored'} {deliveries}")
    return "\n".join(lines)
