"""What the platform's programs take of the machine while something happens to them."""

import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic

import psutil

# Often enough to see the peak of a moment, seldom enough to cost nothing.
_PAUSE_SECONDS = 0.25
# A process that takes another one's place is looked at from the next look for new ones on.
_SAMPLES_A_LOOK = 4
_MEBIBYTE = 1024 * 1024


@dataclass(kw_only=True)
class Footprint:
    """By program: the resident MiB of its largest process, and the CPU seconds a second of all of its processes.

    `files` are the MiB of files that only an open descriptor of a process holds: bodies that wait on the disk.
    """

    memory: dict[str, float] = field(default_factory=dict)
    cores: dict[str, float] = field(default_factory=dict)
    files: float = 0.0


class Processes:
    """The processes of the running programs, which are given by their first process."""

    def __init__(self, programs: Mapping[str, int]) -> None:
        self._masters = {name: psutil.Process(pid) for name, pid in programs.items()}
        self._first = self._look()

    def ended(self) -> list[str]:
        """Programs of which a process that was there at first is no more."""
        return [name for name, processes in self._first.items() if not all(map(_runs, processes))]

    def busy(self, name: str, seconds: float) -> float:
        """The CPU seconds a second of one program, seen for so long."""
        before = self._cpu()[name]
        threading.Event().wait(seconds)
        return (self._cpu()[name] - before) / seconds

    @contextmanager
    def watched(self) -> Iterator[Footprint]:
        """Complete at the end of the block."""
        footprint, ended = Footprint(), threading.Event()
        thread = threading.Thread(target=self._watch, args=(footprint, ended), daemon=True)
        before, begin = self._cpu(), monotonic()
        thread.start()
        try:
            yield footprint
        finally:
            ended.set()
            thread.join()
            seconds, after = monotonic() - begin, self._cpu()
            # What an ended process used is lost.
            footprint.cores = {name: max(0.0, after[name] - before[name]) / seconds for name in before}

    def _watch(self, footprint: Footprint, ended: threading.Event) -> None:
        known = self._look()
        sample = 0
        while True:
            for name, processes in known.items():
                footprint.memory[name] = max(footprint.memory.get(name, 0.0), *map(_mebibytes, processes))
                footprint.files = max(footprint.files, sum(map(_unlinked_mebibytes, processes)))
            if ended.wait(_PAUSE_SECONDS):
                return
            sample += 1
            if sample % _SAMPLES_A_LOOK == 0:
                known = self._look()

    def _cpu(self) -> dict[str, float]:
        return {name: sum(map(_cpu_seconds, processes)) for name, processes in self._look().items()}

    def _look(self) -> dict[str, list[psutil.Process]]:
        found = {name: [master] for name, master in self._masters.items()}
        for name, master in self._masters.items():
            with suppress(psutil.Error):
                found[name] += master.children(recursive=True)
        return found


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _mebibytes(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss / _MEBIBYTE)
    except psutil.Error:
        return 0.0


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _unlinked_mebibytes(process: psutil.Process) -> float:
    """Only Linux shows them; 0 elsewhere."""
    found, folder = 0, f"/proc/{process.pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                status = os.stat(f"{folder}/{name}")
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                    found += status.st_size
    return found / _MEBIBYTE
