"""Backups made and restored in a test: empty databases of an ordinary role, and this process's connection to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from uuid import uuid4

import psycopg
from django.core.management import call_command
from django.db import connection
from psycopg import sql
from psycopg.conninfo import make_conninfo

from installation.backup.folders import complete_backups
from tests.support.servers import test_database_url


@dataclass(frozen=True, kw_only=True)
class EmptyDatabase:
    """Of a role that owns it and is no superuser."""

    name: str
    role: str

    @property
    def address(self) -> str:
        return make_conninfo(test_database_url(), dbname=self.name, user=self.role)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.address) as session:
            return session.execute(query.encode()).fetchall()


@contextmanager
def empty_database() -> Iterator[EmptyDatabase]:
    name = f"restored_{uuid4().hex}"
    identifier = sql.Identifier(name)
    with psycopg.connect(test_database_url(), autocommit=True) as server:
        server.execute(sql.SQL("CREATE ROLE {} LOGIN").format(identifier))
        server.execute(sql.SQL("CREATE DATABASE {0} TEMPLATE template0 OWNER {0}").format(identifier))
        try:
            yield EmptyDatabase(name=name, role=name)
        finally:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
            server.execute(sql.SQL("DROP ROLE {}").format(identifier))


@contextmanager
def connected_to(*, name: str, **settings: str) -> Iterator[None]:
    """This process's connection leads there, as if DATABASE_URL named it."""
    before = connection.settings_dict
    connection.close()
    connection.settings_dict = {**before, "NAME": name, **settings}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict = before


def back_up(parent: Path, *options: str) -> Path:
    """The new backup, by `manage.py backup`."""
    call_command("backup", str(parent), *options, stdout=StringIO())
    return complete_backups(parent)[-1]


def restore(folder: Path, database: EmptyDatabase, *options: str) -> str:
    """What `manage.py restore` prints."""
    said = StringIO()
    with connected_to(name=database.name, USER=database.role):
        call_command("restore", str(folder), *options, stdout=said)
    return said.getvalue()
