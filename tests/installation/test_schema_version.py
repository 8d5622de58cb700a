"""Code that is older than its data: one release it runs, and says so; further back it does not start."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from core.version import VERSION, oldest_beside, parsed
from installation.local.data_dir import CHECKOUT
from lifecycle.models import SchemaVersion
from observability import schema_version
from observability.schema_version import Fit, judge_schema
from tests.support.servers import test_database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _taken_back() -> Iterator[None]:
    yield
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE name = '9999_to_come'")
    SchemaVersion.objects.update(version=VERSION, oldest=oldest_beside(VERSION))


def migrate_by(version: str) -> None:
    """As that version's `migrate` leaves the data."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO django_migrations VALUES (DEFAULT, 'ingestion', '9999_to_come', now())")
    SchemaVersion.objects.update_or_create(id=1, defaults={"version": version, "oldest": oldest_beside(version)})


def later(*, minors: int) -> str:
    major, minor, _ = parsed(VERSION)
    return f"{major}.{minor + minors}.0"


def start(*command: str) -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, "DATABASE_URL": test_database_url(), "PORT": "0", "LOG_FORMAT": "json"}
    return subprocess.run(
        [sys.executable, *command], cwd=CHECKOUT, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_versions_beside_each_other_are_the_minor_before_and_the_major_before() -> None:
    assert oldest_beside("0.2.0") == "0.1.0"
    assert oldest_beside("1.4.2") == "1.3.0"
    assert oldest_beside("1.0.0") == "0.0.0"
    assert parsed("0.10.0") > parsed("0.9.9")


def test_each_migrate_notes_its_version_and_an_older_one_takes_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    call_command("migrate", verbosity=0)
    assert SchemaVersion.objects.get().version == VERSION
    monkeypatch.setattr(schema_version, "VERSION", "0.1.0")
    call_command("migrate", verbosity=0)
    assert SchemaVersion.objects.get().version == VERSION


def test_one_release_back_is_told_and_runs() -> None:
    migrate_by(later(minors=1))
    assert judge_schema().fit is Fit.CODE_OLDER
    part = Client().get("/health/status").json()["parts"]["migrations"]
    assert part["state"] == "note"
    assert f"migrated by a newer version ({later(minors=1)})" in part["reason"]
    call_command("migrate", verbosity=0)


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "gunicorn", "-c", "gunicorn.conf.py", "events_platform.asgi:application"),
        pytest.param(("-m", "celery", "-A", "events_platform", "worker", "--queues", "events"), marks=pytest.mark.long),
        pytest.param(("-m", "celery", "-A", "events_platform", "beat", "--schedule", "…"), marks=pytest.mark.long),
    ],
)
def test_further_back_nothing_starts(command: tuple[str, ...], tmp_path: Path) -> None:
    migrate_by(later(minors=2))
    ended = start(*(word.replace("…", str(tmp_path / "beat-schedule")) for word in command))
    assert ended.returncode == schema_version.REFUSED_STATUS, ended.stderr
    assert "This version does not start. The database was migrated by version" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_further_back_nothing_is_migrated() -> None:
    migrate_by(later(minors=2))
    with pytest.raises(CommandError, match="is the oldest that runs"):
        call_command("migrate", verbosity=0)


def test_code_that_is_newer_than_its_data_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_version, "_known_migrations", lambda: frozenset({("ingestion", "9999_to_come")}))
    assert judge_schema().fit is Fit.CODE_NEWER
    part = Client().get("/health/status").json()["parts"]["migrations"]
    assert part["state"] == "failing"


def test_a_database_of_before_has_no_note_and_a_postgresql_that_is_away_stops_nothing() -> None:
    SchemaVersion.objects.all().delete()
    assert judge_schema().fit is Fit.SAME
    environ = {**os.environ, "DATABASE_URL": "postgresql://events@127.0.0.1:1/events"}
    code = "import django; django.setup(); from observability import schema_version as s; s.check_schema_at_start()"
    subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, env=environ, check=True, timeout=60)
