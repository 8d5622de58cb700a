"""The web servers under test: started on a free port, watched for their memory, stopped with all their processes."""

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace

import psutil

from benchmarks.lab import Lab
from events_platform.up.child import Child, Program
from installation.local.errors import UpError

HOST = "127.0.0.1"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_MEBIBYTE = 1024 * 1024
# Often enough to see the peak of a second of load, seldom enough to cost nothing.
_MEMORY_PAUSE = 0.2


def free_port() -> int:
    """A port of loopback that nobody listens on at this moment."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass(frozen=True, kw_only=True)
class WebServer:
    """A server that answers; `pid` is its master process."""

    name: str
    port: int
    pid: int

    def memory_watched(self) -> AbstractContextManager["PeakMemory"]:
        """Samples the memory of its processes while the block runs."""
        return memory_watched(self.pid)


class PeakMemory:
    """The largest resident size that any one process of a server had, in MiB."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.mebibytes = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self._sample()
            if self._ended.wait(_MEMORY_PAUSE):
                return

    def _sample(self) -> None:
        self.mebibytes = max(self.mebibytes, largest_mebibytes(self._pid))


def largest_mebibytes(pid: int) -> float:
    """The resident size of the largest of a process and its children, in MiB; 0 when it has ended."""
    largest = 0.0
    with suppress(psutil.Error):
        master = psutil.Process(pid)
        for process in (master, *master.children(recursive=True)):
            with suppress(psutil.Error):
                largest = max(largest, process.memory_info().rss / _MEBIBYTE)
    return largest


def pid_of(child: Child) -> int:
    """The process id of a program that runs."""
    assert child.identity is not None
    return child.identity.pid


@contextmanager
def memory_watched(pid: int) -> Iterator[PeakMemory]:
    """Samples the memory of a process and its children while the block runs."""
    peak = PeakMemory(pid)
    peak.start()
    try:
        yield peak
    finally:
        peak.stop()


@contextmanager
def serving(lab: Lab, program: Program, *, port: int, health: str) -> Iterator[WebServer]:
    """Start `program`, which listens on `port`, and wait until `health` answers 200; the end leaves nothing of it."""
    with running(lab, program) as child:
        wait_until_answers(child, f"http://{HOST}:{port}{health}")
        yield WebServer(name=program.name, port=port, pid=pid_of(child))


@contextmanager
def running(lab: Lab, program: Program, *, stop_seconds: float = _STOP_SECONDS) -> Iterator[Child]:
    """Start `program`; the end leaves nothing of it. An UpError within the block gets the end of its log."""
    log = lab.data.root / f"{program.name}.log"
    child = Child(replace(program, log=log, stop_seconds=stop_seconds), lab.output)
    child.start()
    try:
        yield child
    except UpError as error:
        raise UpError(f"{error}\n{log.read_text(errors='replace')[-2000:]}") from error
    finally:
        child.ask_to_stop()
        child.wait_stopped(lambda: False)


def wait_until_answers(child: Child, url: str, *, seconds: float = _START_SECONDS) -> None:
    """An UpError when `url` does not answer 200 within so many seconds, or the program ends."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not child.running():
            raise UpError(f"{child.program.name} ended at once.")
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise UpError(f"{child.program.name} does not answer on {url}.")
