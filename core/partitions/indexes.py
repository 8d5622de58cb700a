"""An index of a partitioned table gives way to another one, while everybody reads and writes (docs/adr/0035).

PostgreSQL builds none concurrently on a partitioned table. So each partition gets its own, and then they are tied
together.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.utils import CursorWrapper
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import Index

from core.postgresql.short_locks import lock_out_such_work, short_transaction, try_often

# Those whose own index is not a part of the table's yet.
_WITHOUT = """
SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = %s::regclass AND NOT EXISTS (
    SELECT FROM pg_index JOIN pg_inherits AS tie ON tie.inhrelid = pg_index.indexrelid
    WHERE pg_index.indrelid = child.oid AND tie.inhparent = %s::regclass
) ORDER BY child.relname
"""


class ReplaceIndex(Operation):
    """The step of a migration (not an atomic one) that calls `replace_index`."""

    reduces_to_sql = False

    def __init__(self, model_name: str, *, old: Index, new: Index) -> None:
        self.model_name, self.old, self.new = model_name, old, new

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        state.remove_index(app_label, self.model_name, self.old.name)
        state.add_index(app_label, self.model_name, self.new)

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        old, new = (self.old, self.new) if self.new in model._meta.indexes else (self.new, self.old)
        columns = ", ".join(f"{model._meta.get_field(name).column} {order}" for name, order in new.fields_orders)
        replace_index(model._meta.db_table, old=old.name, new=new.name, columns=columns)

    database_backwards = database_forwards

    def describe(self) -> str:
        return f"Replace index {self.old.name} on {self.model_name} by {self.new.name}"


def replace_index(table: str, *, old: str, new: str, columns: str) -> None:
    """Build `new` on `columns`, then drop `old`; called again after it was stopped anywhere, it goes on.

    Not within a transaction. A partition takes as long as reading it does, and waits for transactions that are open
    when it begins. Raises InUseError or TooLongError when a lock could not be had for some seconds.
    """
    try_often(lambda: _declare(table, new, columns), tables=[table])
    for partition in _without(table, new):
        index = f"{partition}_{new}"
        with _unhurried() as cursor:
            # One that was being built when we were stopped.
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")
            cursor.execute(f"CREATE INDEX CONCURRENTLY {index} ON {partition} ({columns})")
        try_often(lambda: _tie(partition, index, new), tables=[partition])  # noqa: B023 - called at once
    try_often(lambda: _drop(table, old), tables=[table])


def _declare(table: str, new: str, columns: str) -> None:
    """Partitions that are made from here on have it; those that are there do not."""
    with short_transaction() as cursor:
        cursor.execute(f"CREATE INDEX IF NOT EXISTS {new} ON ONLY {table} ({columns})")


def _without(table: str, new: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(_WITHOUT, [table, new])
        return [name for (name,) in cursor.fetchall()]


@contextmanager
def _unhurried() -> Iterator[CursorWrapper]:
    """Statements that may take hours and that nobody waits for."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout TO 0")
        cursor.execute("SET lock_timeout TO 0")
        try:
            yield cursor
        finally:
            cursor.execute("RESET statement_timeout")
            cursor.execute("RESET lock_timeout")


def _tie(partition: str, index: str, new: str) -> None:
    with short_transaction() as cursor:
        lock_out_such_work(cursor, partition)
        cursor.execute(f"ALTER INDEX {new} ATTACH PARTITION {index}")


def _drop(table: str, old: str) -> None:
    with short_transaction() as cursor:
        lock_out_such_work(cursor, table)
        cursor.execute(f"LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"DROP INDEX IF EXISTS {old}")
