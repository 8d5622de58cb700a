"""Makes a backup: PostgreSQL's own dump and a manifest, both of the same moment, while the platform goes on."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.db import connection, transaction
from django.utils import timezone

from core.secrets import key_fingerprints
from core.version import VERSION, revision
from installation.backup.errors import BackupError
from installation.backup.folders import DUMP, complete_backups, new_backup, only_backup, remove_older
from installation.backup.manifest import Dump, Manifest, State, state_of_database
from installation.backup.programs import (
    DatabaseProgram,
    connection_environment,
    find_program,
    is_too_new,
    last_words,
    refuse_pooler,
    server_version,
)

BLOCK_BYTES = 1 << 20
# A migration that holds a table's lock would let the dump wait for as long as it takes.
LOCK_WAIT_MS = 60_000


@dataclass(frozen=True, kw_only=True)
class Backup:
    """`removed` are the names of older ones."""

    folder: Path
    manifest: Manifest
    removed: list[str]


def make_backup(
    *,
    parent: Path,
    keep: int | None = None,
    read_back: bool = False,
    say: Callable[[str], None],
    on_bytes: Callable[[int], None],
) -> Backup:
    """Back up into a new folder in `parent`; with `keep`, remove all but so many afterwards. Raises BackupError.

    `read_back` reads the whole dump once more. `say` gets a line for each step, `on_bytes` the size so far.
    """
    refuse_pooler()
    server = server_version()
    pg_dump = find_program("pg_dump", at_least=server // 10_000)
    with only_backup(parent):
        started_at = timezone.now()
        with new_backup(parent, now=started_at) as folder:
            with _snapshot() as (snapshot, state):
                say(f"Counted {sum(state.rows.values())} rows of {len(state.rows)} tables.")
                dump = _write_dump(pg_dump, snapshot, folder / DUMP, on_bytes)
            say(f"Dumped {dump.size} bytes with {pg_dump.path}.")
            if is_too_new(pg_dump.major, server):
                say(f"It needs PostgreSQL 17 or newer: postgresql-client-{server // 10_000} is not installed.")
            _check(folder / DUMP, dump, read_back=read_back)
            manifest = _manifest(server, started_at, state, dump)
            manifest.write(folder)
        removed = remove_older(parent, keep=keep) if keep else []
        return Backup(folder=complete_backups(parent)[-1], manifest=manifest, removed=removed)


@contextmanager
def _snapshot() -> Iterator[tuple[str, State]]:
    """A moment that another connection may read too, by its name, and what was in the database then."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            # It is idle for as long as the dump takes.
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SELECT pg_export_snapshot()")
            name = cursor.fetchone()[0]
        state = state_of_database()
        if not state.migrations:
            raise BackupError("The database has no tables of the platform: there is nothing to back up.")
        yield name, state


def _write_dump(pg_dump: DatabaseProgram, snapshot: str, to: Path, on_bytes: Callable[[int], None]) -> Dump:
    # Publications and the like are the server's affair, and restoring them takes a superuser.
    command = [pg_dump.path, "--format=custom", "--no-password", f"--snapshot={snapshot}"]
    command += [
        f"--lock-wait-timeout={LOCK_WAIT_MS}",
        "--no-publications",
        "--no-subscriptions",
        "--no-security-labels",
    ]
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb", buffering=0) as file, tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(command, env=connection_environment(), stdout=subprocess.PIPE, stderr=complaints)
        assert process.stdout is not None  # noqa: S101 - as asked for
        try:
            while block := process.stdout.read(BLOCK_BYTES):
                _write_all(file.fileno(), block)
                digest.update(block)
                size += len(block)
                on_bytes(size)
            os.fsync(descriptor)
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdout.close()
            status = process.wait()
        if status != 0:
            complaints.seek(0)
            raise BackupError(f"pg_dump failed, and no backup was made: {last_words(complaints.read(), pg_dump)}")
    return Dump(size=size, sha256=digest.hexdigest(), pg_dump=pg_dump.major)


def _write_all(descriptor: int, block: bytes) -> None:
    left = memoryview(block)
    while left:
        left = left[os.write(descriptor, left) :]


def _check(path: Path, dump: Dump, *, read_back: bool) -> None:
    """Its table of contents can be read; on demand, every row of it, from the disk."""
    pg_restore = find_program("pg_restore", at_least=dump.pg_dump)
    wanted = "--file=/dev/null" if read_back else "--list"
    done = subprocess.run([pg_restore.path, wanted, str(path)], capture_output=True, text=True, check=False)
    if done.returncode != 0 or (read_back and hash_of(path) != dump.sha256):
        raise BackupError(f"The dump cannot be read back, so no backup was made: {last_words(done.stderr, pg_restore)}")


def hash_of(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            on_bytes(done)
    return digest.hexdigest()


def _manifest(server: int, started_at: datetime, state: State, dump: Dump) -> Manifest:
    return Manifest(
        version=VERSION,
        revision=revision(),
        postgresql=server,
        started_at=started_at,
        finished_at=timezone.now(),
        state=state,
        keys=key_fingerprints(),
        dump=dump,
    )
