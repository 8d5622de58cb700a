"""What the command prints: its own lines and those of its children, written by one thread."""

import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

# Lines kept while nobody reads our output; more are dropped, for a child must never wait for a reader.
_BACKLOG = 10_000
_NAME_WIDTH = 8


class Output:
    """Writes whole lines to standard output; never blocks its callers, never fails when the reader has gone."""

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._lines: queue.Queue[str] = queue.Queue(maxsize=_BACKLOG)
        threading.Thread(target=self._write, daemon=True).start()

    def say(self, text: str) -> None:
        """Print `text`, one line or several."""
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            return

    @contextmanager
    def timed(self, done: str) -> Iterator[None]:
        """Print `done` with the seconds that the block took; nothing when it fails."""
        started = time.monotonic()
        yield
        self.say(f"{done} in {time.monotonic() - started:.1f} s")

    def follow(self, name: str, stream: IO[bytes]) -> threading.Thread:
        """Print each line of `stream` behind `name`, until it ends."""

        def relay() -> None:
            with stream:
                for line in stream:
                    text = line.decode("utf-8", "replace").rstrip()
                    self.say(f"{name:<{_NAME_WIDTH}}| {text}")

        thread = threading.Thread(target=relay, daemon=True)
        thread.start()
        return thread

    def flush(self, *, seconds: float) -> None:
        """Wait until everything is written, at most `seconds`."""
        deadline = time.monotonic() + seconds
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)

    def _write(self) -> None:
        while True:
            remaining = (self._lines.get() + "\n").encode()
            try:
                while remaining:
                    remaining = remaining[os.write(self._descriptor, remaining) :]
            except OSError:
                pass  # the terminal or the pipe is gone: the platform runs on
            finally:
                self._lines.task_done()
