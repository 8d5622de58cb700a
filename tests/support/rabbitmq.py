"""A real RabbitMQ of the test's own: on loopback, with its data, cookie and ports apart from every other one."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.servers import free_port
from tests.support.waiting import wait_until

_HOST = "127.0.0.1"
_START_SECONDS = 90
# Not the one on the PATH: Debian's changes the user first, and takes only its own settings.
_PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_CONTROL = _PROGRAM.with_name("rabbitmqctl")


class RabbitMQ:
    """One node; `url` is where Celery finds it, also after a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, distribution, self._epmd_port = (free_port() for _ in range(3))
        self.url = f"amqp://guest:guest@{_HOST}:{self._port}//"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": _HOST,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": f"events-{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": _HOST,
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self._folder / "plugins").write_text("[].\n")
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [_PROGRAM], env=self._environment, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            assert self._process.poll() is None, (self._folder / "output").read_text()
            if self._answers():
                return
            time.sleep(0.1)
        raise AssertionError("RabbitMQ does not answer")

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((_HOST, self._port), timeout=1) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) == b"\x01"  # a method frame: Connection.Start
        return False

    @property
    def pid(self) -> int:
        """Of the process that all others of the node come from."""
        assert self._process is not None
        return self._process.pid

    def control(self, *words: str) -> None:
        """`rabbitmqctl …`"""
        done = subprocess.run(
            [_CONTROL, *words], env=self._environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def kill(self) -> None:
        """As a machine that loses power: nothing is flushed."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        wait_until(self._forgotten, seconds=10)

    def _forgotten(self) -> bool:
        """Ends the daemon that knows the nodes, and outlives them; it refuses while it knows one that lives."""
        command = ["epmd", "-port", str(self._epmd_port), "-kill"]
        told = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        return "living nodes" not in told.stdout + told.stderr


@contextmanager
def running_rabbitmq() -> Iterator[RabbitMQ]:
    """Skips the test where Debian's `rabbitmq-server` is not installed; CI installs it."""
    if not _PROGRAM.exists():
        pytest.skip("rabbitmq-server is not installed (Debian: apt install rabbitmq-server)")
    folder = Path(tempfile.mkdtemp(prefix="events-rabbitmq-"))
    node = RabbitMQ(folder)
    try:
        node.start()
        yield node
    finally:
        node.kill()
        shutil.rmtree(folder, ignore_errors=True)
