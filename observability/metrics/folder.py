"""The folder through which the processes of one host share their numbers: PROMETHEUS_MULTIPROC_DIR.

Each process writes files that carry its pid. When it has ended, its counters and histograms are added to the file of
the ended ones, so that neither files pile up nor a counter falls, which Prometheus would take for a restart. A lock
keeps readers from counting a process twice meanwhile. Pids must mean the same to all who share the folder: containers
have folders of their own.

A folder that is full or cannot be written stops nobody: see files.py for what a process does then.
"""

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_ADDED_UP = ("counter", "histogram")
_ENDED = "ended"
_set_aside: Path | None = None


def folder() -> Path | None:
    """The folder; None when this process keeps its numbers to itself."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path else None


def set_folder_aside() -> None:
    """For a process whose numbers nobody reads: it writes none, and still knows where the others do."""
    global _set_aside  # noqa: PLW0603 - the process has one
    _set_aside = folder()
    os.environ.pop(VARIABLE, None)


def folder_of_others() -> Path | None:
    """Where the long-running processes of this host share theirs, if the environment says so."""
    return folder() or _set_aside


def make_folder() -> None:
    """Make the folder that the environment names. Before anything makes a metric, which opens files."""
    path = folder()
    if path is None:
        return
    # Only here: the environment must name the folder before prometheus_client is imported.
    from observability.metrics.files import say_trouble, use_allocated_files  # noqa: PLC0415

    use_allocated_files()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        say_trouble(error)


def choose_folder() -> Path | None:
    """Name a new folder in the environment when it names none; returns it, for whoever removes it at the end."""
    chosen = None
    if not folder():
        try:
            chosen = Path(tempfile.mkdtemp(prefix="events-metrics-"))
        except OSError as error:
            logger.warning("No folder for metrics: %s. Until the next start each process counts for itself.", error)
            return None
        os.environ[VARIABLE] = str(chosen)
    make_folder()
    return chosen


def clean_folder() -> None:
    """At a start: drop everything when no process uses the folder, otherwise add up those that have ended."""
    path = folder()
    if path is None:
        return
    with suppress(OSError), _locked(path, fcntl.LOCK_EX):
        if not any(_is_running(pid) for pid in _pids(path)):
            for file in path.glob("*.db"):
                file.unlink(missing_ok=True)
    add_up_ended()


def add_up_ended(*pids: int) -> None:
    """Add up the processes of these pids, which have ended, and whichever else have."""
    path = folder()
    if path is None or not path.is_dir():
        return
    ended = {pid for pid in _pids(path) if pid in pids or not _is_running(pid)}
    if not ended:
        return
    # Without space for the sum the files stay, and count where they are.
    with suppress(OSError), _locked(path, fcntl.LOCK_EX):
        for pid in ended:
            _add_up(path, pid)


@contextmanager
def reading() -> Iterator[Path | None]:
    """Nobody adds up meanwhile."""
    path = folder()
    if path is None or not path.is_dir():
        yield None
        return
    with ExitStack() as stack:
        # Where no lock can be had, nobody adds up.
        with suppress(OSError):
            stack.enter_context(_locked(path, fcntl.LOCK_SH))
        yield path


def _add_up(path: Path, pid: int) -> None:
    # Only here, as above.
    from observability.metrics.files import AllocatedFile  # noqa: PLC0415

    for file in path.glob(f"gauge_*_{pid}.db"):
        file.unlink(missing_ok=True)
    for kind in _ADDED_UP:
        file = path / f"{kind}_{pid}.db"
        with suppress(FileNotFoundError):
            if size := file.stat().st_size:
                with closing(AllocatedFile(str(path / f"{kind}_{_ENDED}.db"))) as total:
                    # All of it or nothing: what is added cannot be told from what is not.
                    total.reserve(size)
                    for key, value, _, _ in AllocatedFile.read_all_values_from_file(str(file)):
                        total.write_value(key, total.read_value(key)[0] + value, 0.0)
            file.unlink()


def _pids(path: Path) -> set[int]:
    return {int(pid) for file in path.glob("*.db") if (pid := file.stem.rpartition("_")[2]).isdigit()}


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lock_file(path: Path) -> IO[str]:
    try:
        return (path / "lock").open("a")
    except OSError:
        # One that is there can be locked where nothing can be written.
        return (path / "lock").open()


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    # Unlocked by name: a process that is forked meanwhile holds the descriptor open.
    with _lock_file(path) as file:
        fcntl.flock(file, kind)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
