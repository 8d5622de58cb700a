"""A progress bar for people at a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_WIDTH = 30


class Progress:
    """A bar on standard error, drawn over itself; nothing but the last state when that is no terminal."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done = label, total, -1
        self._terminal = sys.stderr.isatty()

    def show(self, done: int) -> None:
        if self._terminal and done != self._done:
            sys.stderr.write(f"\r{self._line(done)}")
            sys.stderr.flush()
        self._done = done

    def end(self) -> None:
        sys.stderr.write("\n" if self._terminal else f"{self._line(max(self._done, 0))}\n")

    def _line(self, done: int) -> str:
        filled = _WIDTH * done // self._total
        return f"{self._label:<8}[{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{self._total}"


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Progress]:
    progress = Progress(label, total)
    try:
        yield progress
    finally:
        progress.end()
