"""The folder through which the processes of one host share their numbers: PROMETHEUS_MULTIPROC_DIR.

Each process writes files that carry its pid. When it has ended, its counters and histograms are added to the file of
the ended ones, so that neither files pile up nor a counter falls, which Prometheus would take for a restart. A lock
keeps readers from counting a process twice meanwhile. Pids must mean the same to all who share the folder: containers
have folders of their own.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
    """Make the folder that the environment names. Before anything imports prometheus_client, which opens files."""
    if path := folder():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


def choose_folder() -> Path | None:
    """Name a new folder in the environment when it names none; returns it, for whoever removes it at the end."""
    chosen = None
    if not folder():
        chosen = Path(tempfile.mkdtemp(prefix="events-metrics-"))
        os.environ[VARIABLE] = str(chosen)
    make_folder()
    return chosen


def clean_folder() -> None:
    """At a start: drop everything when no process uses the folder, otherwise add up those that have ended."""
    path = folder()
    if path is None:
        return
    with _locked(path, fcntl.LOCK_EX):
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
    with _locked(path, fcntl.LOCK_EX):
        for pid in ended:
            _add_up(path, pid)


@contextmanager
def reading() -> Iterator[Path | None]:
    """Nobody adds up meanwhile."""
    path = folder()
    if path is None or not path.is_dir():
        yield None
        return
    with _locked(path, fcntl.LOCK_SH):
        yield path


def _add_up(path: Path, pid: int) -> None:
    # Only here: the environment must name the folder before prometheus_client is imported.
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415

    for kind in _ADDED_UP:
        file = path / f"{kind}_{pid}.db"
        with suppress(FileNotFoundError):
            if file.stat().st_size:
                total = MmapedDict(str(path / f"{kind}_{_ENDED}.db"))
                for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
                    total.write_value(key, total.read_value(key)[0] + value, 0.0)
                total.close()
            file.unlink()
    for file in path.glob(f"gauge_*_{pid}.db"):
        file.unlink(missing_ok=True)


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


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    # Unlocked by name: a process that is forked meanwhile holds the descriptor open.
    with (path / "lock").open("a") as file:
        fcntl.flock(file, kind)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
