"""Processes of the operating system: who is who, and ending exactly those that are ours."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def started_at(pid: int) -> str | None:
    """A text that, with the pid, names one process for ever; None when there is no such process (or a zombie).

    Linux counts ticks since boot, which no clock change moves; elsewhere it is the wall clock at the start.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if sys.platform == "linux":
            # The name in parentheses may hold anything: fields are counted after the last one.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return f"{_boot()}:{fields[19]}"
        return f"{process.create_time():.2f}"
    except (psutil.Error, OSError):
        return None


def tether(death_signal: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` by which the child gets `death_signal` when its parent dies, even of SIGKILL (Linux only).

    The kernel watches the thread that forked, so children must be started from the main thread.
    """
    if sys.platform != "linux":
        return None
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return arm


def stand_back(session: int, niceness: int) -> None:
    """Put the session that the process `session` leads, and what it will start, `niceness` behind other programs.

    Linux may share out processor time among sessions before it looks within them (sched(7), "The autogroup feature"):
    then the niceness of a process counts only beside its own children, and the session has one of its own.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.setpriority(os.PRIO_PGRP, session, os.getpriority(os.PRIO_PROCESS, session) + niceness)
    with suppress(OSError):
        Path(f"/proc/{session}/autogroup").write_text(str(niceness))


def signal_group(group: int, number: signal.Signals) -> None:
    """Send to every process of the group; no error when it is empty."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def group_members(group: int) -> Iterator[psutil.Process]:
    """The living processes of the group."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def wait_until(condition: Callable[[], bool], *, seconds: float, pause: float = 0.05) -> bool:
    """Poll `condition` until it holds; False when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
