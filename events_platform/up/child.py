"""One long-running program of the platform, in a process group of its own."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from events_platform.up.output import Output
from events_platform.up.processes import group_members, signal_group, stand_back, started_at, tether, wait_until
from installation.local.os_users import Account

_AFTER_KILL_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Program:
    """How to start and how to stop one program.

    `stop_signal` asks it to finish its work, `hurry_signal` to finish at once; it is killed `stop_seconds` after
    the first. `log` takes its output, which otherwise is printed behind its name. `niceness` is how far it stands
    behind the others where the machine is busy, from 0 to 19.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    stop_signal: signal.Signals = signal.SIGTERM
    hurry_signal: signal.Signals = signal.SIGKILL
    stop_seconds: float = 10.0
    account: Account | None = None
    log: Path | None = None
    niceness: int = 0


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Names one process for ever; the process leads the group `pid`."""

    name: str
    pid: int
    started: str


class Child:
    """A running `Program`. Start it from the main thread only (see `tether`)."""

    def __init__(self, program: Program, output: Output) -> None:
        self.program = program
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None
        self.identity: Identity | None = None

    def start(self) -> None:
        """Start the program, or start it anew."""
        program = self.program
        # Servers log statements and values, which are nobody else's business.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        stdout = os.open(program.log, flags, 0o600) if program.log else subprocess.PIPE
        account = program.account
        self._process = subprocess.Popen(
            program.command,
            env=dict(program.environment),
            cwd=program.folder,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            preexec_fn=tether(program.stop_signal),  # noqa: PLW1509 - it calls one C function
        )
        if self._process.stdout is not None:
            self._output.follow(program.name, self._process.stdout)
        if program.log:
            os.close(stdout)
        pid = self._process.pid
        if program.niceness:
            stand_back(pid, program.niceness)
        self.identity = Identity(name=program.name, pid=pid, started=started_at(pid) or "")

    def exit_status(self) -> int | None:
        """The exit status (minus the signal that killed it), or None while it runs."""
        return self._process.poll() if self._process else None

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def ask_to_stop(self) -> None:
        """Send the stop signal to the program itself, which passes it on to its own children."""
        if self._process is not None and self.running():
            self._process.send_signal(self.program.stop_signal)

    def wait_stopped(self, hurry: Callable[[], bool]) -> bool:
        """Wait for the end that `ask_to_stop` asked for; False when the program had to be killed.

        Once `hurry()` holds, the program gets its hurry signal and two seconds. Nothing of its group is left.
        """
        gone = wait_until(lambda: not self.running() or hurry(), seconds=self.program.stop_seconds)
        if self._process is not None and self.running() and gone:
            self._process.send_signal(self.program.hurry_signal)
            gone = wait_until(lambda: not self.running(), seconds=2.0)
        self.kill_group()
        return gone

    def kill_group(self) -> None:
        """Kill what is left of the group, and wait until it has gone."""
        if self.identity is None:
            return
        group = self.identity.pid
        signal_group(group, signal.SIGKILL)
        wait_until(lambda: not self.running() and not any(group_members(group)), seconds=_AFTER_KILL_SECONDS)
