"""Restores a backup into an empty database, and compares what is there afterwards with what was."""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from django.apps import apps
from django.core.management.sql import emit_post_migrate_signal
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from psycopg.conninfo import make_conninfo

from core.partitions.making import make_partitions
from installation.backup.checking import (
    how_to_set_aside,
    refuse_damaged,
    refuse_missing_keys,
    refuse_unfit_database,
    refuse_unfit_program,
    refuse_unknown_migrations,
)
from installation.backup.errors import BackupError
from installation.backup.folders import DUMP
from installation.backup.making import BLOCK_BYTES
from installation.backup.manifest import Manifest, State, read_manifest, state_of_database
from installation.backup.programs import (
    DatabaseProgram,
    connection_environment,
    find_program,
    last_words,
    refuse_pooler,
)

# Only their owner may say something of these, who need not be the platform; and it needs no extension.
_NOT_OURS = (" EXTENSION ", "COMMENT - EXTENSION ", "COMMENT - SCHEMA public ", "SCHEMA - public ")


def restore_backup(
    *, folder: Path, without_keys: bool, say: Callable[[str], None], on_bytes: Callable[[int, int], None]
) -> Manifest:
    """Restore the backup in `folder`. Raises BackupError; until the rows are there, the database stays empty.

    `say` gets a line for each step, `on_bytes` how many bytes of how many were read.
    """
    refuse_pooler()
    manifest = read_manifest(folder)
    size = manifest.dump.size
    refuse_unknown_migrations(manifest)
    if not without_keys:
        refuse_missing_keys(manifest)
    refuse_unfit_database(manifest)
    pg_restore = find_program("pg_restore", at_least=manifest.dump.pg_dump)
    refuse_unfit_program(pg_restore, manifest)
    refuse_damaged(folder, manifest, lambda done: on_bytes(done, size))
    say("The dump is what was written.")
    # Its connection would be one more that nobody needs meanwhile, and may not live so long.
    connection.close()
    _run(pg_restore, folder / DUMP, lambda done: on_bytes(done, size))
    say(f"Restored with {pg_restore.path}.")
    _compare(manifest.state)
    say("Every table has as many rows as when the backup was made, and the newest event is the same.")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return manifest


def _run(pg_restore: DatabaseProgram, dump: Path, on_bytes: Callable[[int], None]) -> None:
    """In one transaction. Everything belongs to the role that connects, whoever owned it before."""
    name = make_conninfo(dbname=connection.settings_dict["NAME"])
    command = [pg_restore.path, f"--dbname={name}", "--no-password", "--single-transaction", "--exit-on-error"]
    command += ["--no-owner", "--no-privileges", "--no-tablespaces"]
    with tempfile.NamedTemporaryFile("w") as contents, tempfile.TemporaryFile("w+") as complaints:
        contents.write(_contents(pg_restore, dump))
        contents.flush()
        process = subprocess.Popen(
            [*command, f"--use-list={contents.name}"],
            env=connection_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
        )
        try:
            _feed(process, dump, on_bytes)
        except BaseException:
            process.kill()
            raise
        finally:
            status = process.wait()
        if status != 0:
            complaints.seek(0)
            said = last_words(complaints.read(), pg_restore)
            raise BackupError(f"pg_restore failed, and the database is as empty as before: {said}")


def _contents(pg_restore: DatabaseProgram, dump: Path) -> str:
    """What is restored, in the form that pg_restore prints and takes."""
    done = subprocess.run([pg_restore.path, "--list", str(dump)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackupError(f"{dump} cannot be read: {last_words(done.stderr, pg_restore)}")
    lines = done.stdout.splitlines(keepends=True)
    return "".join(line for line in lines if not any(word in line for word in _NOT_OURS))


def _feed(process: "subprocess.Popen[bytes]", dump: Path, on_bytes: Callable[[int], None]) -> None:
    assert process.stdin is not None  # noqa: S101 - as asked for
    done = 0
    with dump.open("rb") as file:
        try:
            while block := file.read(BLOCK_BYTES):
                process.stdin.write(block)
                done += len(block)
                on_bytes(done)
            process.stdin.close()
        except BrokenPipeError:
            # It has ended; its status and its words say why.
            return


@transaction.atomic
def _compare(wanted: State) -> None:
    """Counted anew, and the same as in the manifest."""
    found = state_of_database()
    differences = [
        f"{table} has {found.rows.get(table, 'no')} rows instead of {wanted.rows.get(table, 'any')}"
        for table in sorted(found.rows.keys() | wanted.rows.keys())
        if found.rows.get(table) != wanted.rows.get(table)
    ]
    if found.newest_event != wanted.newest_event:
        differences.append(f"the newest event is {found.newest_event} instead of {wanted.newest_event}")
    if found.migrations != wanted.migrations:
        differences.append("the applied migrations differ")
    if differences:
        raise BackupError(
            f"What was restored differs from what the backup says: {'; '.join(differences)}. Does something write to "
            f"the database? Start nothing on it. To start over: {how_to_set_aside()}"
        )


def needs_migrate() -> bool:
    """Whether the code has migrations that the database does not have."""
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def complete_database() -> None:
    """What `migrate` and beat keep right, for a database that needs no migration: groups of staff, and partitions."""
    emit_post_migrate_signal(verbosity=0, interactive=False, db=connection.alias, apps=apps)
    make_partitions()
