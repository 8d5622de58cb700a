"""Migrations run while the version before them still serves: they may not lock big tables for long, nor break it."""

import re
from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader

OUR_APPS = {"console", "delivery", "events_platform", "ingestion", "notifications", "organizations"}
# They made the tables, or changed them before anybody ran them.
BEFORE_THE_FIRST_RELEASE = {
    ("console", "0002_exports"),
    ("delivery", "0002_webhooks"),
    ("ingestion", "0002_intake"),
    ("ingestion", "0003_stat_of_hour"),
    ("organizations", "0003_invitations"),
}
# What a platform in use must not be asked to do: pattern, and why.
UNSAFE = [
    (r"CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)", "locks writes while it is built: use AddIndexConcurrently"),
    (r"DROP INDEX (?!CONCURRENTLY)", "locks the table: use RemoveIndexConcurrently"),
    # A longer varchar writes nothing, as a test below shows.
    (r"ALTER COLUMN \S+ TYPE (?!varchar\(1024\))", "may write the whole table anew"),
    (r"ALTER COLUMN \S+ SET NOT NULL", "reads the whole table under a lock, and breaks the version before"),
    (r"ADD COLUMN (?!.*DEFAULT).*NOT NULL", "the version before does not fill it"),
    (r"DROP COLUMN", "the version before still reads it: stop using it one release earlier, then drop it"),
    (r"ADD CONSTRAINT (?!.*NOT VALID)", "reads the whole table under a lock: NOT VALID first, VALIDATE afterwards"),
    (r"RENAME", "the version before knows the old name"),
]
# These are dropped or changed with a table of a few rows per organization: the lock lasts for a moment.
SMALL_TABLES = {"organizations_organization"}


def ours() -> Iterator[Migration]:
    for (app, name), migration in sorted(MigrationLoader(None).disk_migrations.items()):
        if app in OUR_APPS and not name.startswith("0001") and (app, name) not in BEFORE_THE_FIRST_RELEASE:
            yield migration


def faults(statement: str) -> list[str]:
    """Why this statement must not be run on a platform in use."""
    found = re.search(r'(?:ALTER TABLE|ON|INTO)\s+(?:ONLY\s+)?"(\w+)"', statement)
    if statement.startswith(("CREATE TABLE", "--")) or (found and found[1] in SMALL_TABLES):
        return []
    return [why for pattern, why in UNSAFE if re.search(pattern, statement)]


@pytest.mark.django_db(transaction=True)
def test_migrations_are_safe_on_a_platform_in_use() -> None:
    found = {}
    for migration in ours():
        state = MigrationLoader(connection).project_state((migration.app_label, migration.name), at_end=False)
        with connection.schema_editor(collect_sql=True, atomic=migration.atomic) as editor:
            migration.apply(state, editor, collect_sql=True)
        made = {name for text in editor.collected_sql for name in re.findall(r'^CREATE TABLE "(\w+)"', text)}
        for statement in editor.collected_sql:
            if any(f'"{table}"' in statement for table in made):
                continue  # a table of its own is empty
            if why := faults(statement):
                found[f"{migration}: {statement}"] = why
    assert not found


def test_every_migration_can_be_taken_back() -> None:
    irreversible = [
        f"{migration}: {operation.describe()}"
        for migration in ours()
        for operation in migration.operations
        if not operation.reversible
    ]
    assert not irreversible


@pytest.mark.django_db
def test_a_longer_varchar_writes_no_table_anew() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE written (id int, source varchar(255)) PARTITION BY RANGE (id)")
        cursor.execute("CREATE TABLE written_default PARTITION OF written DEFAULT")
        file = "SELECT pg_relation_filenode('written_default')"
        cursor.execute(file)
        before = cursor.fetchone()
        cursor.execute('ALTER TABLE written ALTER COLUMN "source" TYPE varchar(1024)')
        cursor.execute(file)
        assert cursor.fetchone() == before


@pytest.mark.parametrize(
    "statement",
    [
        'CREATE INDEX "x" ON "ingestion_event" ("type");',
        'ALTER TABLE "delivery_attempt" ALTER COLUMN "number" TYPE bigint;',
        'ALTER TABLE "delivery_attempt" ADD COLUMN "note" text NOT NULL;',
        'ALTER TABLE "ingestion_event" DROP COLUMN "time" CASCADE;',
        'ALTER TABLE "ingestion_event" ADD CONSTRAINT "c" CHECK ("time" IS NOT NULL);',
        'ALTER TABLE "ingestion_event" RENAME COLUMN "time" TO "at";',
    ],
)
def test_what_would_lock_or_break_is_found(statement: str) -> None:
    assert faults(statement)


@pytest.mark.parametrize(
    "statement",
    [
        'CREATE INDEX CONCURRENTLY "x" ON "ingestion_event" ("type");',
        """ALTER TABLE "organizations_auditentry" ADD COLUMN "agent" text DEFAULT '' NOT NULL;""",
        'ALTER TABLE "ingestion_event" ADD COLUMN "note" text NULL;',
    ],
)
def test_what_is_safe_passes(statement: str) -> None:
    assert not faults(statement)
