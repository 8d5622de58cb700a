"""Two web servers on one listening socket, as systemd hands it to two units: one stops, the other goes on."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from installation.local.data_dir import CHECKOUT
from tests.support.http.clients import Client, make_sender
from tests.support.servers import test_database_url
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

# What systemd does with a service whose Sockets= names one: the socket is descriptor 3, by LISTEN_FDS and LISTEN_PID.
_ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "events_platform.asgi:application"])
"""
EVENT = {"type": "invoice.paid", "data": 1}


class Unit:
    """A gunicorn that is given the socket; `served` is whether it has answered a page since its start."""

    def __init__(self, listener: socket.socket, log: Path) -> None:
        self._listener, self._log = listener, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _ACTIVATED, str(self._listener.fileno())],
                cwd=CHECKOUT,
                env={
                    **os.environ,
                    "DATABASE_URL": test_database_url(),
                    "WEB_CONCURRENCY": "1",
                    "LOG_FORMAT": "json",
                    "LOG_REQUESTS": "all",
                },
                pass_fds=[self._listener.fileno()],
                start_new_session=True,
                stdout=log,
                stderr=log,
            )

    def has_served(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self._log.read_text()
        return "/account/password/reset/" in self._log.read_text()

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        self.terminate()
        assert self.process is not None
        return self.process.wait(30)

    def end(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Load:
    """Clients that send about a hundred requests a second in all; `answers` counts what came back."""

    def __init__(self, base_url: str) -> None:
        self.answers: Counter[str] = Counter()
        self._ended = threading.Event()
        self._base_url = base_url
        self.key = make_sender(base_url).client.key or ""

    @contextmanager
    def running(self) -> Iterator[None]:
        pauses = [(0.03, False), (0.03, False), (0.03, True), (0.03, True), (0.4, True), (0.8, True)]
        threads = [threading.Thread(target=self._send, args=pause) for pause in pauses]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _send(self, pause: float, keep_alive: bool) -> None:
        client = Client(self._base_url, self.key)
        number = 0
        while not self._ended.wait(pause):
            number += 1
            try:
                answer = client.post("/api/v1/events", EVENT) if number % 2 else client.get("/account/password/reset/")
                self.answers[str(answer.status)] += 1
            except (OSError, HTTPException) as error:
                self.answers[f"{pause} {keep_alive} {error!r}"] += 1
                client.close()
            if not keep_alive:
                client.close()
        client.close()


@pytest.mark.django_db(transaction=True)
def test_a_unit_that_stops_loses_no_request_while_the_other_serves(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        listener.set_inheritable(True)
        port = listener.getsockname()[1]
        load = Load(f"http://127.0.0.1:{port}")
        first, second = (Unit(listener, tmp_path / name) for name in ("first.log", "second.log"))
        try:
            first.start()
            second.start()
            with load.running():
                wait_until(lambda: first.has_served() and second.has_served())
                assert first.stop() == 0
                _goes_on(load)
                first.start()
                wait_until(first.has_served)
                assert second.stop() == 0
                _goes_on(load)
            untold = asyncio.run(_stop_while_hammered(first, port, load.key))
        finally:
            first.end()
            second.end()
    assert set(load.answers) == {"200", "202"}, load.answers
    assert untold == 0, "a proxy sends its next request on a connection that has just answered"


def _goes_on(load: Load) -> None:
    before = load.answers.total()
    wait_until(lambda: load.answers.total() > before + 20)


async def _stop_while_hammered(unit: Unit, port: int, key: str) -> int:
    """Clients that keep their connections until they are told to close them; how many requests met a closed one."""
    answered = 0
    body = json.dumps(EVENT).encode()
    request = (
        f"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body

    async def client() -> int:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            while True:
                writer.write(request)
                try:
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                except (asyncio.IncompleteReadError, OSError):
                    return 1
                answered += 1
                if b"connection: close" in head:
                    return 0
                (length,) = re.findall(rb"content-length: (\d+)", head)
                await reader.readexactly(int(length))

    async def stop() -> int:
        while answered < 500:
            await asyncio.sleep(0.01)
        unit.terminate()
        return 0

    return sum(await asyncio.gather(stop(), *(client() for _ in range(48))))
