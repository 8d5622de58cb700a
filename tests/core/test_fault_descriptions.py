"""What is wrong with PostgreSQL is said in a line that names it, and what to do about it."""

import os
import subprocess
import sys

import psycopg
import pytest
from django.db import OperationalError
from psycopg import errors

from core.postgresql.descriptions import describe_fault, describe_for_people
from installation.local.data_dir import CHECKOUT


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (errors.DiskFull("could not extend file"), "PostgreSQL's disk is full"),
        (errors.ReadOnlySqlTransaction("cannot execute"), "PostgreSQL takes no writes: it is read-only"),
        (errors.LockNotAvailable("canceling"), "a table that is needed is locked"),
        (psycopg.OperationalError("FATAL: sorry, too many clients already"), "PostgreSQL has no connection left"),
        (psycopg.OperationalError("FATAL: password authentication failed for user"), "PostgreSQL refuses the user"),
        (psycopg.OperationalError("FATAL: the database system is starting up"), "PostgreSQL is starting or stopping"),
        (psycopg.OperationalError("connection refused"), "PostgreSQL does not answer"),
    ],
)
def test_a_fault_has_a_name_also_behind_an_error_of_django(error: psycopg.Error, what: str) -> None:
    assert describe_fault(error).startswith(what)
    outer = OperationalError(str(error))
    outer.__cause__ = error
    assert describe_fault(outer) == describe_fault(error)
    line = describe_for_people(outer)
    assert line is not None
    assert str(error) in line
    assert "\n" not in line


def test_what_is_no_fault_of_postgresql_keeps_its_trace() -> None:
    assert describe_for_people(errors.SyntaxError("at or near")) is None
    assert describe_for_people(ValueError("x")) is None


def test_a_command_without_its_database_ends_with_one_line() -> None:
    environ = {**os.environ, "DATABASE_URL": "postgresql://events:secret@127.0.0.1:1/events"}
    ended = subprocess.run(
        [sys.executable, "manage.py", "migrate"],
        cwd=CHECKOUT, env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.startswith("PostgreSQL does not answer (")
    assert ended.stderr.endswith("See that it runs, and that DATABASE_URL has its host and port.\n")
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr
