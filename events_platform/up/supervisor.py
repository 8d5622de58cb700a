"""`manage.py up`: start everything in order, keep it running, stop everything in order."""

import argparse
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

from events_platform.up import programs
from events_platform.up.banner import banner, banner_without_demo, first_login
from events_platform.up.checks import about_full_disk, check_port, check_settings, is_live
from events_platform.up.child import Child
from events_platform.up.configuration import Configuration, share_environment
from events_platform.up.embedded import EmbeddedServers
from events_platform.up.leftovers import end_leftovers, record_children
from events_platform.up.output import Output
from events_platform.up.processes import tether, wait_until
from installation.local.errors import UNSUITABLE, StopRequested, UpError

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LIVE_SECONDS = 90.0
_LONGEST_RESTART_SECONDS = 30.0
# A program that ran this long starts anew with the shortest delay.
_STABLE_SECONDS = 60.0
_POLL_SECONDS = 0.1
_SAME_REQUEST_SECONDS = 0.5


def main(arguments: Sequence[str]) -> int:
    """Run the platform until a signal stops it; returns the exit status."""
    argparse.ArgumentParser(prog="manage.py up", description=__doc__).parse_args(arguments)
    output = Output()
    environ = dict(os.environ)
    configuration: Configuration | None = None
    try:
        configuration = Configuration.read(environ)
        configuration.data.make()
        with configuration.data.locked():
            Supervisor(configuration, output, environ).run()
    except UpError as error:
        output.flush(seconds=2.0)
        print(error, *about_full_disk(configuration, str(error)), sep="\n", file=sys.stderr)
        return error.status
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        output.flush(seconds=2.0)
        print(f"No space on the disk for {error.filename}: free some space, and start again.", file=sys.stderr)
        return 1
    output.flush(seconds=2.0)
    return 0


@dataclass
class _Watched:
    """A child, and when it may start again after it died."""

    child: Child
    started: float
    delay: float = 1.0
    restart_at: float | None = None


class Supervisor:
    """Runs the platform of one data folder, whose lock the caller holds. Uses the main thread's signals."""

    def __init__(self, configuration: Configuration, output: Output, environ: Mapping[str, str]) -> None:
        self._configuration = configuration
        self._output = output
        self._data = configuration.data
        self._environment = configuration.platform_environment(environ)
        self._servers = EmbeddedServers(self._data, output, environ)
        self._watched: list[_Watched] = []
        self._stop_requests = 0
        self._last_signal = float("-inf")

    def run(self) -> None:
        """Start, watch until a signal comes, stop; an `UpError` when the start fails, after stopping again."""
        for number in _STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        check_settings(self._environment)
        for name in end_leftovers(self._data):
            self._output.say(f"Stopped the {name} that an earlier run left behind")
        check_port(self._configuration)
        try:
            self._start()
            self._watch()
        except StopRequested:
            pass
        finally:
            self._stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # `make` passes on a signal that its whole group got as well: the two are one request.
        now = time.monotonic()
        if now - self._last_signal > _SAME_REQUEST_SECONDS:
            self._stop_requests += 1
        self._last_signal = now

    def _check_stop(self) -> None:
        if self._stop_requests:
            raise StopRequested

    # Starting

    def _start(self) -> None:
        started = time.monotonic()
        self._output.say(f"Starting the platform; its data is in {self._data.root}")
        self._servers.start(self._check_stop)
        for child in self._servers.children:
            self._watched.append(_Watched(child, time.monotonic()))
        share_environment(self._data, self._environment)
        with self._output.timed("Database migrated"):
            self._manage("migrate", "--no-input")
        welcome = self._bootstrap()
        self._start_programs()
        self._output.say(f"Platform ready in {time.monotonic() - started:.1f} s")
        self._output.say(welcome)

    def _bootstrap(self) -> str:
        """Make what the first visitor needs; returns the banner that tells of it."""
        public_url = self._environment["PUBLIC_URL"]
        if self._configuration.demo:
            with self._output.timed("Demo organization ready"):
                file, base_url = str(self._data.demo), self._configuration.base_url
                self._manage("bootstrap_demo", "--file", file, "--base-url", base_url)
            return banner(self._data, public_url)
        known = first_login(self._data)
        with self._output.timed("Administrator ready"):
            self._manage("bootstrap_admin", "--file", str(self._data.admin))
        return banner_without_demo(self._data, public_url, known=known)

    def _manage(self, *arguments: str) -> None:
        """Run a management command; an `UpError` with its own words when it fails."""
        command = subprocess.Popen(
            programs.management_command(*arguments),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=tether(signal.SIGTERM),  # noqa: PLW1509 - it calls one C function
        )
        while True:
            try:
                said, _ = command.communicate(timeout=_POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if self._stop_requests:
                    command.terminate()
        self._check_stop()
        if command.returncode != 0:
            bad_setting = command.returncode == UNSUITABLE
            # What has a name is said in the last line; before it a migration tells how far it came.
            told = said.strip() if bad_setting or "Traceback" in said else said.strip().rpartition("\n")[2]
            message = told if bad_setting else f"`manage.py {arguments[0]}` failed: {told}"
            raise UpError(message, status=UNSUITABLE if bad_setting else 1)

    def _start_programs(self) -> None:
        shutil.rmtree(self._data.metrics, ignore_errors=True)
        self._data.metrics.mkdir(mode=0o700)
        with self._output.timed("Web server ready"):
            web = Child(programs.web(self._environment), self._output)
            worker = Child(programs.worker(self._environment), self._output)
            sender = Child(programs.sender(self._environment), self._output)
            beat = Child(programs.beat(self._environment), self._output)
            for child in (web, worker, sender, beat):
                child.start()
                self._watched.append(_Watched(child, time.monotonic()))
            self._record()
            self._wait_live(web)

    def _wait_live(self, web: Child) -> None:
        def settled() -> bool:
            self._check_stop()
            return not web.running() or is_live(self._configuration)

        in_time = wait_until(settled, seconds=_LIVE_SECONDS)
        if not web.running():
            raise UpError(f"The web server stopped while starting (exit status {web.exit_status()}).")
        if not in_time:
            raise UpError(f"{self._configuration.base_url}/health/live did not answer within {_LIVE_SECONDS:.0f} s.")

    def _record(self) -> None:
        """The embedded servers are found again by their own files; the record is for the rest."""
        servers = self._servers.children
        running = [watched.child for watched in self._watched if watched.child not in servers]
        record_children(self._data, [child.identity for child in running if child.identity is not None])

    # Watching

    def _watch(self) -> None:
        while not self._stop_requests:
            for watched in self._watched:
                self._look_after(watched, time.monotonic())
            time.sleep(_POLL_SECONDS)

    def _look_after(self, watched: _Watched, now: float) -> None:
        """Notice a death, and start the program again when its delay is over."""
        child, name = watched.child, watched.child.program.name
        if watched.restart_at is not None:
            if now >= watched.restart_at:
                self._restart(watched, now)
            return
        if child.running():
            return
        if now - watched.started > _STABLE_SECONDS:
            watched.delay = 1.0
        child.kill_group()
        status = child.exit_status()
        self._start_later(watched, now, f"{name} exited unexpectedly (exit status {status})")

    def _restart(self, watched: _Watched, now: float) -> None:
        """A full disk, or too little memory, may keep it from starting: that is tried again, too."""
        try:
            watched.child.start()
        except OSError as error:
            self._start_later(watched, now, f"{watched.child.program.name} cannot be started ({error.strerror})")
            return
        watched.restart_at, watched.started = None, now
        # Whichever starts next writes down all of them.
        with suppress(OSError):
            self._record()

    def _start_later(self, watched: _Watched, now: float, why: str) -> None:
        self._output.say(f"{why}; restarting it in {watched.delay:.0f} s")
        watched.restart_at = now + watched.delay
        watched.delay = min(watched.delay * 2, _LONGEST_RESTART_SECONDS)

    # Stopping

    def _stop(self) -> None:
        """Stop in the order web, workers and beat, Valkey, PostgreSQL; a second signal hurries it."""
        asked = self._stop_requests

        def hurry() -> bool:
            return self._stop_requests > asked

        self._data.environment.unlink(missing_ok=True)
        self._output.say("Stopping (press Ctrl-C again to hurry)")
        children = [watched.child for watched in self._watched if watched.child not in self._servers.children]
        self._stop_together([child for child in children if child.program.name == "web"], hurry)
        self._stop_together([child for child in children if child.program.name != "web"], hurry)
        self._servers.stop(hurry)
        self._data.record.unlink(missing_ok=True)
        self._output.say("Stopped")

    def _stop_together(self, children: Sequence[Child], hurry: Callable[[], bool]) -> None:
        for child in children:
            child.ask_to_stop()
        for child in children:
            if not child.wait_stopped(hurry):
                self._output.say(f"{child.program.name} did not stop in time and was killed")
