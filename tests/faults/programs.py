"""The platform's own programs as `manage.py up` runs and supervises them, and the ways in which they fail."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from events_platform.up.data_dir import CHECKOUT
from events_platform.up.processes import tether
from tests.faults import processes
from tests.waiting import wait_until

PROGRAMS = ("web", "worker", "sender", "beat")
_START_SECONDS = 120
# The servers and settings of the test run itself are no business of the platform under test.
_OF_THE_TEST_RUN = (
    "DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "SECRET_KEY", "TEST_DATABASE_TEMPLATE", "PUBLIC_URL",
    "DJANGO_SETTINGS_MODULE", "DEMO",
)  # fmt: skip


class Platform:
    """One `manage.py up` on `port`, with its data folder below `folder`; nothing of it is started again by hand.

    `checkout` is that of another version; `prefix` is put before the command (another network, say).
    """

    def __init__(
        self, folder: Path, *, port: int, environ: Mapping[str, str], checkout: Path = CHECKOUT, prefix: tuple[str, ...] = ()
    ) -> None:  # fmt: skip
        self.data, self.log, self.port = folder / "data", folder / "up.log", port
        self.url = f"http://127.0.0.1:{port}"
        self._checkout, self._prefix = checkout, prefix
        kept = {name: value for name, value in os.environ.items() if name not in _OF_THE_TEST_RUN}
        self._environ = {**kept, **environ, "EVENTS_DATA_DIR": str(self.data), "PORT": str(port)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        module = ["-m", "tests.faults.up"] if self._checkout == CHECKOUT else ["manage.py", "up"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, sys.executable, *module],
                cwd=self._checkout,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=tether(signal.SIGTERM),
            )
        wait_until(lambda: self._is_ready() or self._process is None or self._process.poll() is not None,
                   seconds=_START_SECONDS)  # fmt: skip
        assert self._is_ready(), self.log.read_text()[-3000:]

    def _is_ready(self) -> bool:
        return "Platform ready" in self.log.read_text()

    def stop(self) -> None:
        """At once: what a row has hurt may take its time."""
        if self._process is not None:
            processes.kill_family(self._process.pid)
            self._process.wait()

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

    def is_live(self) -> bool:
        with suppress(urllib.error.URLError, OSError):
            with urllib.request.urlopen(f"{self.url}/health/live", timeout=2) as answer:
                return bool(answer.status == 200)
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

    @contextmanager
    def clock_off(self, name: str, by: str) -> Iterator[None]:
        """`by` is "+2h" or "-2h": the clock of the machine that the program runs on is set, and set right again."""
        clock = self.data / f"clock-of-{name}"
        clock.write_text(f"{by}\n")
        try:
            yield
        finally:
            clock.write_text("+0\n")
            time.sleep(2)  # libfaketime looks at the file once a second
