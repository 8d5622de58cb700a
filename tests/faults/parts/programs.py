"""The platform's own programs as `manage.py up` runs and supervises them, and the ways in which they fail."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from events_platform.up import programs
from events_platform.up.processes import tether
from installation.local.data_dir import CHECKOUT
from tests.faults.parts import processes
from tests.faults.parts.hosts import Host
from tests.support.waiting import wait_until

PROGRAMS = ("web", "worker", "sender", "beat")
_START_SECONDS = 240
_STOP_SECONDS = 90
# The servers and settings of the test run itself are no business of the platform under test.
_OF_THE_TEST_RUN = (
    "DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "SECRET_KEY", "TEST_DATABASE_TEMPLATE", "PUBLIC_URL",
    "DJANGO_SETTINGS_MODULE", "DEMO",
)  # fmt: skip


def _kept() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OF_THE_TEST_RUN}


class Platform:
    """One `manage.py up` on `port`, with its data folder below `folder`; nothing of it is started again by hand.

    `checkout` is that of another version.
    """

    def __init__(self, folder: Path, *, port: int, environ: Mapping[str, str], checkout: Path = CHECKOUT) -> None:
        self.data, self.log, self.port = folder / "data", folder / "up.log", port
        self.url = f"http://127.0.0.1:{port}"
        self._checkout = checkout
        self.given = environ
        self._environ = {**_kept(), **environ, "EVENTS_DATA_DIR": str(self.data), "PORT": str(port)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        module = ["-m", "tests.faults.up"] if self._checkout == CHECKOUT else ["manage.py", "up"]
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *module],
                cwd=self._checkout,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=tether(signal.SIGTERM),  # noqa: PLW1509 - it calls one C function
            )
        wait_until(lambda: self._has_started() or self._process is None or self._process.poll() is not None,
                   seconds=_START_SECONDS)  # fmt: skip
        assert self._has_started(), self.log.read_text()[-3000:]

    def _has_started(self) -> bool:
        return "Platform ready" in self.log.read_text()

    def stop(self) -> None:
        """At once: what a row has hurt may take its time."""
        if self._process is not None:
            processes.kill_family(self._process.pid)
            self._process.wait()

    def stop_in_peace(self) -> None:
        """As an operator does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_STOP_SECONDS)

    def environment(self, **environ: str) -> dict[str, str]:
        """For other programs of the same platform; `environ` is what is different for them."""
        shared = json.loads((self.data / "environment.json").read_text())
        return {**self._environ, **shared, "DJANGO_SETTINGS_MODULE": "events_platform.settings", **environ}

    @property
    def key(self) -> str:
        """Of the demo organization; with every scope."""
        return str(json.loads((self.data / "demo.json").read_text())["api_key"])

    def pid(self, name: str) -> int:
        """Of one of the `PROGRAMS`; while it is being started again, that of the one that ended."""
        children = json.loads((self.data / "up.json").read_text())["children"]
        return next(int(child["pid"]) for child in children if child["name"] == name)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        request.add_header("Authorization", f"Bearer {self.key}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, None if body is None else json.dumps(body).encode(), timeout=20) as answer:
            return json.load(answer)

    def is_ready(self) -> bool:
        """Whether a load balancer would send it anything."""
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    # Failing

    @contextmanager
    def killed(self, name: str) -> Iterator[None]:
        """The program with all of its processes, by the kernel for want of memory, say; `up` starts it again."""
        processes.kill_family(self.pid(name))
        yield

    @contextmanager
    def hanging(self, name: str) -> Iterator[None]:
        with processes.hanging(self.pid(name)):
            yield


class FarWorker:
    """One more worker of `platform`, on a host of its own, where something starts it again when it ends."""

    def __init__(self, host: Host, environ: Mapping[str, str]) -> None:
        self._host, self._environ = host, environ
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = programs.worker(self._environ)
        again = ("sh", "-c", 'while :; do "$@"; sleep 1; done', "sh")
        self._process = subprocess.Popen(
            [*self._host.prefix, *again, *program.command],
            cwd=CHECKOUT,
            env=dict(self._environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=tether(signal.SIGTERM),  # noqa: PLW1509 - it calls one C function
        )

    def cut_and_kill(self) -> None:
        """The network first, so that nobody hears of its end."""
        self._host.ip("link", "set", self._host.device, "down")
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            processes.kill_family(self._process.pid)
            self._process.wait()
