"""What `backup` and `restore` do not do, and what they say and leave behind then."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from installation.backup import checking, programs
from installation.backup.folders import DUMP, MANIFEST
from installation.local.data_dir import CHECKOUT
from tests.support.restored import EmptyDatabase, back_up, connected_to, empty_database, restore
from tests.support.servers import test_database_url
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
RELATIONS = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S')"


@pytest.fixture(scope="module")
def backup(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a platform without events, made with the keys of the tests."""
    with django_db_blocker.unblock():
        return back_up(tmp_path_factory.mktemp("backups"))


@pytest.fixture
def copy(backup: Path, tmp_path: Path) -> Path:
    """One to be changed."""
    return Path(shutil.copytree(backup, tmp_path / backup.name))


@pytest.fixture
def database() -> Iterator[EmptyDatabase]:
    with empty_database() as database:
        yield database


def change_manifest(folder: Path, **members: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | members))


def refused(folder: Path, database: EmptyDatabase, *options: str) -> str:
    """What is said; the database is as empty as it was."""
    with pytest.raises(CommandError) as refusal:
        restore(folder, database, *options)
    assert database.rows(RELATIONS) == [(0,)]
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_backup_is_for_its_owner_alone_and_names_no_key(backup: Path, settings: Any) -> None:
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (backup, *backup.iterdir())}
    assert modes == {backup.name: "0o700", DUMP: "0o600", MANIFEST: "0o600"}
    manifest = (backup / MANIFEST).read_text()
    assert settings.SECRET_KEY not in manifest
    assert list(json.loads(manifest)["keys"].values()) == ["SECRET_KEY"]


@pytest.mark.parametrize("where", [0, 5_000, -1])
def test_one_flipped_byte_is_refused(copy: Path, database: EmptyDatabase, where: int) -> None:
    data = bytearray((copy / DUMP).read_bytes())
    data[where] ^= 1
    (copy / DUMP).write_bytes(data)
    assert "SHA-256 differs" in refused(copy, database)


def test_a_dump_that_is_cut_short_is_refused(copy: Path, database: EmptyDatabase) -> None:
    os.truncate(copy / DUMP, (copy / DUMP).stat().st_size - 1)
    assert "it is damaged" in refused(copy, database)


def test_a_damaged_manifest_is_refused(copy: Path, database: EmptyDatabase) -> None:
    os.truncate(copy / MANIFEST, 100)
    assert "is damaged" in refused(copy, database)
    change = json.dumps({"format": 2})
    (copy / MANIFEST).write_text(change)
    assert "use newer code" in refused(copy, database)


def test_a_database_with_anything_in_it_is_refused(backup: Path, database: EmptyDatabase) -> None:
    with psycopg.connect(database.address) as session:
        session.execute("CREATE SEQUENCE of_somebody")
    with pytest.raises(CommandError, match=r"not empty: it contains public\.of_somebody\..*ALTER DATABASE.*createdb"):
        restore(backup, database)
    assert database.rows(RELATIONS) == [(1,)]


def test_a_backup_of_newer_code_is_refused(copy: Path, database: EmptyDatabase) -> None:
    state = json.loads((copy / MANIFEST).read_text())["state"]
    change_manifest(copy, state=state | {"migrations": [*state["migrations"], "ingestion.9999_later"]}, version="9.9")
    said = refused(copy, database)
    assert "ingestion.9999_later" in said
    assert "version 9.9" in said


def test_a_backup_of_a_newer_server_is_refused(copy: Path, database: EmptyDatabase) -> None:
    change_manifest(copy, postgresql=990_001)
    assert "comes from 99" in refused(copy, database)


def test_missing_keys_are_named_and_refused(backup: Path, database: EmptyDatabase, settings: Any) -> None:
    old = next(iter(json.loads((backup / MANIFEST).read_text())["keys"]))
    settings.SECRET_KEY = "another key of fifty characters, or of some more of them"
    said = refused(backup, database)
    assert f"SECRET_KEY with the fingerprint {old}" in said
    listed = StringIO()
    call_command("restore", str(backup.parent), "--list", stdout=listed)
    assert f"missing: SECRET_KEY with the fingerprint {old}" in listed.getvalue()
    assert "Lost without SECRET_KEY" in restore(backup, database, "--without-keys")


def test_more_keys_than_before_are_welcome_and_doctor_has_the_last_word(
    backup: Path, database: EmptyDatabase, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it finds is no failure of the restore."""
    consulted: list[list[str]] = []

    def doctor(_name: str, *, skip: list[str], **_options: Any) -> None:
        consulted.append(skip)
        sys.exit(1)

    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    monkeypatch.setattr("installation.management.commands.restore.get_commands", lambda: {"doctor": "here"})
    monkeypatch.setattr("installation.management.commands.restore.call_command", doctor)
    assert "Lost" not in restore(backup, database)
    assert consulted == [["proxy", "processes"]]


def test_a_pg_restore_that_the_server_does_not_understand_is_refused(
    backup: Path, copy: Path, database: EmptyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 17 on it sets `transaction_timeout`, which older servers do not have."""
    monkeypatch.setattr(checking, "server_version", lambda: 150_014)
    change_manifest(copy, postgresql=150_014)
    assert "cannot restore into PostgreSQL 15, and pg_dump 18 made the dump" in refused(copy, database)
    dump = json.loads((backup / MANIFEST).read_text())["dump"]
    change_manifest(copy, dump=dump | {"pg_dump": 15})
    monkeypatch.setattr(programs, "_FOLDERS", ())
    monkeypatch.setattr(programs, "_PACKAGE_FOLDERS", "pginstall18/bin")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "Install the package postgresql-client-15" in refused(copy, database)


def test_what_makes_a_missing_role_or_database_is_shown(backup: Path, database: EmptyDatabase) -> None:
    make_it = "runuser -u postgres -- createdb --template=template0 --encoding=UTF8 --owner={} no-database"
    with connected_to(name="no-database", USER="no-role"), pytest.raises(CommandError) as refusal:
        call_command("restore", str(backup), stdout=StringIO())
    assert "runuser -u postgres -- createuser --pwprompt no-role" in str(refusal.value)
    assert str(refusal.value).endswith(make_it.format("no-role"))
    with connected_to(name="no-database", USER=database.role), pytest.raises(CommandError) as refusal:
        call_command("restore", str(backup), stdout=StringIO())
    assert str(refusal.value).endswith(make_it.format(database.role))


def test_a_restore_that_fails_leaves_nothing(backup: Path, database: EmptyDatabase) -> None:
    """In the middle of it: a type has the name of a table."""
    with psycopg.connect(database.address) as session:
        session.execute("CREATE TYPE organizations_organization AS (it integer)")
    assert "as empty as before" in refused(backup, database)


def test_what_differs_from_the_manifest_is_told(copy: Path, database: EmptyDatabase) -> None:
    state = json.loads((copy / MANIFEST).read_text())["state"]
    change_manifest(copy, state=state | {"rows": state["rows"] | {"auth_group": 77}})
    with pytest.raises(CommandError, match="auth_group has 2 rows instead of 77"):
        restore(copy, database)


def test_older_backups_go_only_when_the_new_one_is_there(tmp_path: Path) -> None:
    for year in (2019, 2020, 2021):
        (tmp_path / f"events-{year}0101T000000Z").mkdir()
        (tmp_path / f"events-{year}0101T000000Z" / MANIFEST).touch()
    (tmp_path / "events-of-somebody").mkdir()
    with connected_to(name="nobody-made-it"), pytest.raises(CommandError):
        call_command("backup", str(tmp_path), "--keep", "1", stdout=StringIO())
    assert len(list(tmp_path.iterdir())) == 4
    made = back_up(tmp_path, "--keep", "2")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "events-20210101T000000Z",
        made.name,
        "events-of-somebody",
    ]


def not_made(parent: Path, **settings: str) -> str:
    """What is said when no backup is made; nothing is left of it."""
    name = settings.pop("name", str(connection.settings_dict["NAME"]))
    with connected_to(name=name, **settings), pytest.raises(CommandError) as refusal:
        call_command("backup", str(parent), stdout=StringIO())
    assert not parent.is_dir() or not list(parent.iterdir())
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_database_that_is_away_is_one_line(tmp_path: Path) -> None:
    assert "PostgreSQL cannot continue: connection failed" in not_made(tmp_path, HOST="127.0.0.1", PORT="1")


def test_a_database_without_the_platform_is_not_backed_up(tmp_path: Path, database: EmptyDatabase) -> None:
    assert "nothing to back up" in not_made(tmp_path, name=database.name)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Create the folder above it first" in not_made(tmp_path / "missing" / "deeper")
    assert f"{tmp_path}/file/deeper cannot be written" in not_made(tmp_path / "file" / "deeper")


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        assert "cannot be written" in not_made(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def programs_at(folder: Path) -> Iterator[None]:
    """As if PostgreSQL's programs were in that folder only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder))
        patch.setattr(programs, "_FOLDERS", ())
        patch.setattr(programs, "_PACKAGE", "no_such_package")
        yield


def test_without_a_pg_dump_that_is_new_enough_nothing_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    with programs_at(folder):
        assert "none is installed here. Install the package postgresql-client-" in not_made(tmp_path / "backups")
        (folder / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
        (folder / "pg_dump").chmod(0o755)
        assert f"the newest here is {folder}/pg_dump, version 9" in not_made(tmp_path / "backups")


def test_the_smallest_version_that_is_new_enough_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for major in (14, 19, 17):
        program = tmp_path / str(major) / "bin" / "pg_dump"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {major}.1 (Debian)'\n")
        program.chmod(0o755)
    with programs_at(tmp_path):
        monkeypatch.setattr(programs, "_FOLDERS", (f"{tmp_path}/*/bin",))
        assert programs.find_program("pg_dump", at_least=15).major == 17


def test_a_killed_backup_looks_like_none_and_is_removed_by_the_next(tmp_path: Path, database: EmptyDatabase) -> None:
    with psycopg.connect(test_database_url()) as session:
        # It waits for this lock, half way.
        session.execute("LOCK TABLE auth_group IN ACCESS EXCLUSIVE MODE")
        command = [sys.executable, "manage.py", "backup", str(tmp_path)]
        environ = {**os.environ, "DATABASE_URL": test_database_url()}
        with subprocess.Popen(command, cwd=CHECKOUT, env=environ, stdout=subprocess.DEVNULL) as process:
            wait_until(lambda: bool(list(tmp_path.glob("*.partial"))))
            with pytest.raises(CommandError, match="Another backup is being made"):
                back_up(tmp_path)
            process.send_signal(signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".partial")
    assert "never finished" in refused(tmp_path, database)
    made = back_up(tmp_path)
    assert list(tmp_path.iterdir()) == [made]
