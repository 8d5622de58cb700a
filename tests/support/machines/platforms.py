"""The real `manage.py up`, with its own servers, on a free port and a folder of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from events_platform.up.processes import wait_until
from installation.local.data_dir import CHECKOUT

# Only a deadline: on a machine with ten other things to do a start has taken more than 90 s.
START_SECONDS = 240.0
STOP_SECONDS = 60.0
_UP = (sys.executable, str(CHECKOUT / "manage.py"), "up")
# The servers and settings of the test run itself are no business of the platform under test.
_OF_THE_TEST_RUN = (
    "DATABASE_URL",
    "REDIS_URL",
    "CELERY_BROKER_URL",
    "SECRET_KEY",
    "TEST_DATABASE_TEMPLATE",
    "PUBLIC_URL",
    "DJANGO_SETTINGS_MODULE",
    "DEMO",
)


@dataclass(frozen=True)
class Platform:
    """A running `manage.py up`."""

    process: subprocess.Popen[bytes]
    data: Path
    port: int
    log: Path

    def demo(self) -> dict[str, str]:
        demo: dict[str, str] = json.loads((self.data / "demo.json").read_text())
        return demo

    def is_live(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/live", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def is_ready(self) -> bool:
        return "Platform ready" in self.log.read_text()

    def pid(self, name: str) -> int:
        children = json.loads((self.data / "up.json").read_text())["children"]
        return next(int(child["pid"]) for child in children if child["name"] == name)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=STOP_SECONDS)

    def press_control_c(self) -> None:
        """As a terminal does it: the signal goes to every process of the group."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=STOP_SECONDS)


class Launch(Protocol):
    """Starts a platform by `command` on a data folder and a port; returns when it is ready."""

    def __call__(self, folder: Path, port: int, command: Sequence[str] = ...) -> Platform: ...


@contextmanager
def data_folder() -> Iterator[Path]:
    """A data folder that does not exist yet, where PostgreSQL's own user can reach it."""
    folder = Path(tempfile.mkdtemp(prefix="events-up-")).resolve()
    yield folder / "data"
    wait_until(lambda: not processes_of(folder / "data"), seconds=STOP_SECONDS)
    shutil.rmtree(folder)


@contextmanager
def launching(logs_below: Path) -> Iterator[Launch]:
    """All that were started are stopped at the end; `logs_below` is the folder for what they print."""
    platforms: list[Platform] = []
    with ExitStack() as logs:

        def start(folder: Path, port: int, command: Sequence[str] = _UP) -> Platform:
            log = logs_below / f"{len(platforms)}.log"
            output = logs.enter_context(log.open("wb"))
            process = subprocess.Popen(
                command, env=environment_of(folder, port), stdout=output, stderr=output, start_new_session=True
            )
            platform = Platform(process=process, data=folder, port=port, log=log)
            platforms.append(platform)
            wait_until(lambda: platform.is_ready() or process.poll() is not None, seconds=START_SECONDS)
            assert platform.is_ready(), log.read_text()
            return platform

        yield start
        for platform in platforms:
            if platform.process.poll() is None:
                platform.stop()


def environment_of(data: Path, port: int) -> dict[str, str]:
    """For `manage.py` on a data folder: the environment of the tests, without what is theirs alone."""
    inherited = {name: value for name, value in os.environ.items() if name not in _OF_THE_TEST_RUN}
    own = {"EVENTS_DATA_DIR": str(data), "PORT": str(port), "WEB_CONCURRENCY": "1", "WORKER_CONCURRENCY": "1"}
    return {**inherited, **own}


def processes_of(data: Path) -> list[str]:
    """The command lines of living processes that name the data folder, or work in it as PostgreSQL's do."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            named = [*process.cmdline(), process.environ().get("EVENTS_DATA_DIR", ""), process.cwd()]
            if any(str(data) in text for text in named):
                found.append(" ".join(process.cmdline()))
    return found
