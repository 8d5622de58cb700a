"""The folders of backups: `events-<UTC time>` when complete, with `.partial` behind it until then."""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from installation.backup.errors import BackupError

DUMP, MANIFEST = "database.dump", "manifest.json"
_PARTIAL = ".partial"
_NAME = re.compile(r"\Aevents-\d{8}T\d{6}Z(?P<partial>\.partial)?\Z")
_HINTS = {
    errno.EACCES: "Make it writable for the user who runs this, or name another folder",
    errno.EROFS: "Name a folder that can be written to",
    errno.ENOSPC: "Make room there, or keep fewer backups (--keep)",
    errno.EDQUOT: "Make room there, or keep fewer backups (--keep)",
    errno.ENOENT: "Create the folder above it first, or name another one",
}


def unwritable(where: Path, error: OSError) -> BackupError:
    hint = _HINTS.get(error.errno or 0, "Look at the disk")
    return BackupError(f"{where} cannot be written: {error.strerror}. {hint}. No backup was made.")


@contextmanager
def only_backup(parent: Path) -> Iterator[None]:
    """Make the folder when it is missing, and let nobody else make a backup in it meanwhile.

    Whatever runs that were killed have left there is removed.
    """
    try:
        parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise unwritable(parent, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in _matching(parent, partial=True):
            shutil.rmtree(left, ignore_errors=True)
        yield
    except BlockingIOError as error:
        raise BackupError(f"Another backup is being made in {parent}. Wait until it is finished.") from error
    finally:
        os.close(descriptor)


@contextmanager
def new_backup(parent: Path, *, now: datetime) -> Iterator[Path]:
    """A folder to fill. It gets its name only when the block ends well; otherwise nothing is left of it."""
    complete = parent / f"events-{now:%Y%m%dT%H%M%SZ}"
    partial = complete.with_name(complete.name + _PARTIAL)
    try:
        partial.mkdir(mode=0o700)
        yield partial
        sync_folder(partial)
        # Fails when there is one already, as that one is not empty.
        partial.rename(complete)
        sync_folder(parent)
    except OSError as error:
        raise unwritable(parent, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def complete_backups(parent: Path) -> list[Path]:
    """Oldest first."""
    return [folder for folder in _matching(parent, partial=False) if (folder / MANIFEST).exists()]


def backup_at(path: Path) -> Path:
    """The backup itself, or the newest one in a folder of backups."""
    if (path / MANIFEST).exists():
        return path
    if complete := complete_backups(path):
        return complete[-1]
    unfinished = " What is there ends in .partial: it was never finished." if _matching(path, partial=True) else ""
    raise BackupError(f"There is no backup in {path}.{unfinished} Name a folder that `backup` has written to.")


def remove_older(parent: Path, *, keep: int) -> list[str]:
    """Keep only that many, the newest; returns the names of those that went."""
    old = complete_backups(parent)[:-keep]
    for folder in old:
        # Under a name that is not taken for a backup, should it not come to the end.
        going = folder.rename(folder.with_name(folder.name + _PARTIAL))
        shutil.rmtree(going)
    return [folder.name for folder in old]


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _matching(parent: Path, *, partial: bool) -> list[Path]:
    if not parent.is_dir():
        return []
    found = [(path, _NAME.match(path.name)) for path in sorted(parent.iterdir())]
    return [path for path, match in found if match and bool(match["partial"]) == partial]
