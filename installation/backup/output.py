"""What the two commands show: a line for each step, and on a terminal how far a long copy is."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError, OutputWrapper
from django.db import DatabaseError

from installation.backup.errors import BackupError

_REDRAW_SECONDS = 0.2


class Output:
    """Lines on the command's standard output; one on standard error, drawn over itself, where that is a terminal."""

    def __init__(self, stdout: OutputWrapper) -> None:
        self._stdout = stdout
        self._terminal = sys.stderr.isatty()
        self._started = self._drawn = time.monotonic()

    def say(self, line: str) -> None:
        self._clear()
        self._stdout.write(line)
        self._started = time.monotonic()

    def show_bytes(self, done: int, total: int | None = None) -> None:
        now = time.monotonic()
        if not self._terminal or now - self._drawn < _REDRAW_SECONDS:
            return
        self._drawn = now
        share = f" of {megabytes(total)} ({done * 100 // total} %)" if total else ""
        sys.stderr.write(f"\r\033[K{megabytes(done)}{share}, {now - self._started:.0f} s")
        sys.stderr.flush()

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Whatever stops the command becomes one line of text, and exit status 1."""
        try:
            yield
        except BackupError as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(f"PostgreSQL cannot continue: {' '.join(str(error).split())}") from error
        finally:
            self._clear()

    def _clear(self) -> None:
        if self._terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
