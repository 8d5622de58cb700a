"""The product as `make run` starts it, one command for all of it: reached over HTTP, watched program by program."""

import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, LiteralString

import psutil
import psycopg

from benchmarks.lab import Lab
from benchmarks.servers import HOST, free_port, pid_of, running, wait_until_answers
from benchmarks.targets import OUR_TABLES, UNREACHED_LIMIT, truncate
from events_platform.up.child import Program
from events_platform.up.postgres import database_url
from installation.local.data_dir import CHECKOUT

# Its own stop waits for each program in turn.
_STOP_SECONDS = 90.0
_START_SECONDS = 180.0
_REQUEST_SECONDS = 60.0
# What the command line of a child of the supervisor contains.
_PROGRAMS = {
    "gunicorn": "web",
    "worker@": "worker",
    "sender@": "sender",
    "beat": "beat",
    "postgres": "PostgreSQL",
    "valkey": "Valkey",
}
_SUPERVISOR = "supervisor"
_LIFT_LIMIT: LiteralString = "UPDATE organizations_organization SET events_per_minute_override = %s"


@dataclass(frozen=True, kw_only=True)
class Product:
    """The running platform, with one organization, whose limit is never reached."""

    port: int
    pid: int
    api_key: str
    database: str

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer to a request to the REST API, as JSON; None when it has none."""
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}/api/v1{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=_REQUEST_SECONDS) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection]:
        """A connection to its database, in which each statement is committed by itself."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            yield connection

    @contextmanager
    def with_webhooks(self, urls: Sequence[str]) -> Iterator[None]:
        """Webhooks for all events while the block runs."""
        paths = [
            f"/subscriptions/{self.call('POST', '/subscriptions', {'kind': 'webhook', 'url': url})['id']}"
            for url in urls
        ]
        try:
            yield
        finally:
            for path in paths:
                self.call("DELETE", path)

    def empty(self) -> None:
        """Remove all events; the queues stay, as the workers would not find them again."""
        with self.connected() as connection:
            truncate(connection, OUR_TABLES)

    def cpu_seconds(self) -> dict[str, float]:
        """What each program has used, with the processes that it started."""
        supervisor = psutil.Process(self.pid)
        used = {_SUPERVISOR: _own_seconds(supervisor)}
        for child in supervisor.children():
            with suppress(psutil.Error):
                name = _name_of(child)
                used[name] = used.get(name, 0.0) + _seconds_of_all(child)
        return used


@contextmanager
def whole_product(lab: Lab, settings: Mapping[str, str]) -> Iterator[Product]:
    """`manage.py up` in the folder of the lab; `settings` are added to its environment."""
    port = free_port()
    environment = {**lab.environ, **settings, "EVENTS_DATA_DIR": str(lab.data.root), "PORT": str(port)}
    program = Program(
        name="up",
        command=(sys.executable, str(CHECKOUT / "manage.py"), "up"),
        environment=environment,
        folder=CHECKOUT,
    )
    with running(lab, program, stop_seconds=_STOP_SECONDS) as child:
        wait_until_answers(child, f"http://{HOST}:{port}/health/ready", seconds=_START_SECONDS)
        demo = json.loads(lab.data.demo.read_text())
        product = Product(port=port, pid=pid_of(child), api_key=demo["api_key"], database=database_url(lab.data))
        with product.connected() as connection:
            connection.execute(_LIFT_LIMIT, [UNREACHED_LIMIT])
        yield product


def _name_of(child: psutil.Process) -> str:
    line = " ".join(child.cmdline())
    return next((name for part, name in _PROGRAMS.items() if part in line), "other")


def _seconds_of_all(process: psutil.Process) -> float:
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            total += _own_seconds(one) + _ended_seconds(one)
    return total


def _own_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _ended_seconds(process: psutil.Process) -> float:
    """Of its children that have ended."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)
