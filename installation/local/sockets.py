"""Where the sockets of the embedded servers lie: a Unix socket's path has about 100 bytes."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from installation.local.errors import UpError
from installation.local.os_users import Account

# Linux takes 107 bytes, macOS 103.
_LONGEST = 100
_LONGEST_NAME = "postgres/.s.PGSQL.5432.lock"


def socket_root(data_root: Path) -> Path:
    """`run` in the data folder, or a short folder for the same data in the temporary one when that is too long."""
    name = f"events-{hashlib.sha256(os.fsencode(data_root)).hexdigest()[:12]}"
    candidates = [data_root / "run", Path(tempfile.gettempdir()) / name]
    for candidate in candidates:
        if len(os.fsencode(candidate / _LONGEST_NAME)) <= _LONGEST:
            return candidate
    return Path("/tmp") / name


def make_socket_folder(root: Path, name: str, account: Account | None) -> Path:
    """A folder below `root` that only `account` (by default ourselves) may enter; returns it."""
    ourselves = os.geteuid()
    # Root's servers run as different users, who must pass through.
    _make_private(root, ourselves, mode=0o711 if ourselves == 0 else 0o700)
    folder = root / name
    _make_private(folder, account.uid if account else ourselves, mode=0o700)
    return folder


def remove_socket_root(root: Path) -> None:
    """Remove the folders again, once the servers have removed their sockets."""
    for folder in (*root.glob("*"), root):
        try:
            folder.rmdir()
        except OSError:
            return


def _make_private(folder: Path, owner: int, *, mode: int) -> None:
    """Create `folder`, or take it when nobody else could have put it there."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.geteuid()):
        raise UpError(f"{folder} belongs to somebody else; remove it, or set EVENTS_DATA_DIR to a shorter path.")
    if found.st_uid != owner:
        os.chown(folder, owner, -1)
    folder.chmod(mode)
