"""What a backup says of itself: everything that a restore compares."""

import os
from datetime import datetime
from pathlib import Path

import msgspec
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from ingestion.models import Event
from installation.backup.errors import BackupError
from installation.backup.folders import MANIFEST

FORMAT = 1
# What belongs to an extension is not the platform's.
_OWN = """
FROM pg_class AS relation JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
WHERE schema.nspname !~ '^pg_' AND schema.nspname <> 'information_schema' AND NOT EXISTS (
    SELECT FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND objid = relation.oid AND deptype = 'e'
)
"""
_TABLES = f"SELECT schema.nspname, relname {_OWN} AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1, 2"
_RELATIONS = f"SELECT schema.nspname || '.' || relname {_OWN} AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f') ORDER BY 1"


class NewestEvent(msgspec.Struct, frozen=True):
    id: str
    received_at: datetime


class State(msgspec.Struct, frozen=True):
    """What is in a database at a moment. `rows` by table; a partitioned table is counted as one."""

    rows: dict[str, int]
    newest_event: NewestEvent | None
    migrations: list[str]


class Dump(msgspec.Struct, frozen=True):
    """The file. `pg_dump` is the major version of the program that wrote it."""

    size: int
    sha256: str
    pg_dump: int


class Manifest(msgspec.Struct, frozen=True):
    """`postgresql` as `server_version_num`; `keys`: what each is set by, under its fingerprint."""

    version: str
    revision: str
    postgresql: int
    started_at: datetime
    finished_at: datetime
    state: State
    keys: dict[str, str]
    dump: Dump
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        text = msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"
        descriptor = os.open(folder / MANIFEST, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)


def read_manifest(folder: Path) -> Manifest:
    try:
        text = (folder / MANIFEST).read_bytes()
        written_as = msgspec.json.decode(text, type=dict)["format"]
        if written_as != FORMAT:
            raise BackupError(f"{folder} has the format {written_as}, and this version reads {FORMAT}: use newer code.")
        return msgspec.json.decode(text, type=Manifest)
    except OSError as error:
        raise BackupError(f"{folder / MANIFEST} cannot be read: {error.strerror}.") from error
    except (KeyError, msgspec.MsgspecError) as error:
        raise BackupError(f"{folder / MANIFEST} is damaged ({error}). Use another backup.") from error


def state_of_database() -> State:
    """Counts every row: the transaction around it says of which moment."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        tables = cursor.fetchall()
        rows = {}
        for schema, table in tables:
            quoted = f"{connection.ops.quote_name(schema)}.{connection.ops.quote_name(table)}"
            cursor.execute(f"SELECT count(*) FROM {quoted}")  # noqa: S608 - names from the catalog, quoted
            rows[table if schema == "public" else f"{schema}.{table}"] = cursor.fetchone()[0]
    migrations = sorted(f"{app}.{name}" for app, name in MigrationRecorder(connection).applied_migrations())
    newest = None
    if Event._meta.db_table in rows:
        newest = Event.objects.order_by("-pk").values_list("pk", "received_at").first()
    return State(
        rows=rows,
        newest_event=NewestEvent(id=str(newest[0]), received_at=newest[1]) if newest else None,
        migrations=migrations,
    )


def relations() -> list[str]:
    """The names of everything in the database that holds data or shows it."""
    with connection.cursor() as cursor:
        cursor.execute(_RELATIONS)
        return [name for (name,) in cursor.fetchall()]
