"""Stopping, continuing and killing a program with all of its processes, as a machine does that hangs or loses power.

And filling its disk.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it has started, the oldest first; empty when it is gone."""
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def signal_family(pid: int, number: signal.Signals) -> None:
    """The parent first: once it is stopped it starts nothing new, so that a second look finds them all.

    PostgreSQL's processes lead groups of their own, so that a signal to the group would not do.
    """
    done: set[int] = set()
    for _ in range(2):
        for process in family(pid):
            if process.pid not in done:
                done.add(process.pid)
                with suppress(psutil.Error):
                    process.send_signal(number)


def kill_family(pid: int) -> None:
    """All at once: nobody of them notices that another one has died."""
    members = family(pid)
    signal_family(pid, signal.SIGSTOP)
    for process in {*members, *family(pid)}:
        with suppress(psutil.Error):
            process.kill()


@contextmanager
def hanging(pid: int) -> Iterator[None]:
    """Stopped (SIGSTOP) until the block ends: connections stay, and nobody answers on them."""
    signal_family(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_family(pid, signal.SIGCONT)


@contextmanager
def full(file_system: Path) -> Iterator[None]:
    """Not a byte is free on the small file system of this folder until the block ends."""
    filler = file_system / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        os.unlink(filler)
