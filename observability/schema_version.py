"""Code and data of different versions: during an upgrade and after a way back that is as it should be, up to a point.

Each `migrate` notes the newest version that has migrated the data, and the oldest whose code may still run on them. So
the newer code decides, and the older one need not know the rules.
"""

import logging
import sys
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connection, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from core.postgresql.statement_limits import short_statements
from core.version import VERSION, oldest_beside, parsed

logger = logging.getLogger(__name__)
OURS = ("accounts", "console", "delivery", "events_platform", "ingestion", "organizations")
# gunicorn's master takes it from a worker, and does not start another one.
REFUSED_STATUS = 3
# A process starts without PostgreSQL too.
_ASK_MILLISECONDS = 2_000
_TABLE = "events_platform_schemaversion"


class Fit(StrEnum):
    SAME = "same"
    # The code is the older one, by one release at most.
    CODE_OLDER = "code_older"
    CODE_TOO_OLD = "code_too_old"
    CODE_NEWER = "code_newer"


@dataclass(frozen=True, kw_only=True)
class SchemaFit:
    """How code and data fit. `what` and `remedy` are sentences; no remedy when nothing need be done."""

    fit: Fit
    what: str
    remedy: str = ""


def judge_schema() -> SchemaFit:
    """Raises the database's errors."""
    applied = MigrationRecorder(connection).applied_migrations().keys()
    newer = sorted(key for key in applied - _migrations_and_replaced() if key[0] in OURS)
    missing = sorted(_known_migrations() - applied)
    migrated_by, oldest = _noted() or (VERSION, VERSION)
    if newer and parsed(VERSION) < parsed(oldest):
        return SchemaFit(
            fit=Fit.CODE_TOO_OLD,
            what=f"The database was migrated by version {migrated_by}, on which {oldest} is the oldest that runs; this"
            f" is {VERSION}.",
            remedy=f"Start {oldest} or newer. To go back further, restore a backup of that time, or take the"
            " migrations back with the newer version first (docs/operations/upgrade.md, Back again).",
        )
    if missing:
        return SchemaFit(
            fit=Fit.CODE_NEWER,
            what=f"{len(missing)} migrations of this version are not applied, starting with {'.'.join(missing[0])}.",
            remedy="Run `manage.py migrate --no-input` (docs/operations/upgrade.md).",
        )
    if newer:
        return SchemaFit(
            fit=Fit.CODE_OLDER,
            what=f"The database was migrated by a newer version ({migrated_by}): this one, {VERSION}, does not know"
            f" {'.'.join(newer[-1])}.",
            remedy="During an upgrade, and right after going back by one version, that is as it should be. Otherwise"
            " this is the wrong release for the data: start the newer one.",
        )
    return SchemaFit(fit=Fit.SAME, what="The database has exactly the migrations of this version.")


def check_schema_at_start() -> None:
    """Say what does not fit, and end the process when its code is too old. A PostgreSQL that is away is no reason."""
    try:
        with short_statements(_ASK_MILLISECONDS):
            found = judge_schema()
    except (DatabaseError, InterfaceError, OSError) as error:
        logger.warning("PostgreSQL could not be queried for its migrations: %s", type(error).__name__)
        return
    finally:
        # What a process that forks has opened, its children may not share.
        connection.close()
    if found.fit is Fit.CODE_TOO_OLD:
        logger.error("This version does not start. %s %s", found.what, found.remedy)
        sys.exit(REFUSED_STATUS)
    if found.fit is not Fit.SAME:
        logger.warning("%s %s", found.what, found.remedy)


def refuse_to_migrate(*, using: str, **_: Any) -> None:
    """Before a `migrate`: code that may not run on these data has nothing to do to their schema either."""
    if using == DEFAULT_DB_ALIAS and _is_noted():
        found = judge_schema()
        if found.fit is Fit.CODE_TOO_OLD:
            raise CommandError(f"{found.what} {found.remedy}")


def note_version(*, using: str, **_: Any) -> None:
    """After a `migrate`: who has migrated, unless it was a newer version before."""
    if using != DEFAULT_DB_ALIAS or not _is_noted():
        return
    noted = _noted()
    if noted and parsed(noted[0]) >= parsed(VERSION):
        return
    # What has been done to the data since may leave out versions that came right before.
    oldest = max([oldest_beside(VERSION), *(noted[1:] if noted else ())], key=parsed)
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {_TABLE} (id, version, oldest) VALUES (1, %s, %s)"  # noqa: S608
            " ON CONFLICT (id) DO UPDATE SET version = excluded.version, oldest = excluded.oldest",
            [VERSION, oldest],
        )


@cache
def _known_migrations() -> frozenset[tuple[str, str]]:
    """Of the code that runs; they do not change while it does."""
    loader = MigrationLoader(None)
    replacing = {key for key, migration in loader.disk_migrations.items() if migration.replaces}
    return frozenset(loader.disk_migrations.keys() - replacing)


@cache
def _migrations_and_replaced() -> frozenset[tuple[str, str]]:
    loader = MigrationLoader(None)
    replaced = {key for one in loader.disk_migrations.values() for key in one.replaces}
    return frozenset(loader.disk_migrations.keys() | replaced)


def _is_noted() -> bool:
    """Whether there is the table: the schema of 0.2 has none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [_TABLE])
        return bool(cursor.fetchone()[0])


def _noted() -> tuple[str, str] | None:
    """The newest version that has migrated, and the oldest that may run."""
    if not _is_noted():
        return None
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT version, oldest FROM {_TABLE}")  # noqa: S608
        row: tuple[str, str] | None = cursor.fetchone()
        return row
