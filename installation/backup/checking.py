"""What must hold before a backup is restored. Each function raises BackupError, and changes nothing."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from django.db import OperationalError, connection
from django.db.migrations.loader import MigrationLoader

from core.secrets import key_fingerprints
from installation.backup.errors import BackupError
from installation.backup.folders import DUMP
from installation.backup.making import hash_of
from installation.backup.manifest import Manifest, relations
from installation.backup.programs import DatabaseProgram, is_too_new, server_version

_SHOWN_NAMES = 3
LOST = {
    "FIELD_ENCRYPTION_KEYS": "secrets of webhooks, values of their headers and second factors that it encrypted",
    "SECRET_KEY": "sessions and links in mails, and whatever was encrypted while FIELD_ENCRYPTION_KEYS was empty",
}


def refuse_damaged(folder: Path, manifest: Manifest, on_bytes: Callable[[int], None]) -> None:
    dump = folder / DUMP
    try:
        size = dump.stat().st_size
        digest = hash_of(dump, on_bytes) if size == manifest.dump.size else ""
    except OSError as error:
        raise BackupError(f"{dump} cannot be read: {error.strerror}.") from error
    if size != manifest.dump.size:
        raise BackupError(
            f"{dump} has {size} bytes instead of {manifest.dump.size}: it is damaged. Use another backup."
        )
    if digest != manifest.dump.sha256:
        raise BackupError(f"{dump} is not what was written (its SHA-256 differs): it is damaged. Use another backup.")


def refuse_unknown_migrations(manifest: Manifest) -> None:
    known = {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations}
    if unknown := [name for name in manifest.state.migrations if name not in known]:
        raise BackupError(
            f"The backup was made by newer code: this version does not know the migration {_some(unknown)}. "
            f"Use version {manifest.version} ({manifest.revision}) or newer."
        )


def missing_keys(manifest: Manifest) -> dict[str, str]:
    """The keys that were set when the backup was made, and are not set here."""
    here = key_fingerprints()
    return {fingerprint: setting for fingerprint, setting in manifest.keys.items() if fingerprint not in here}


def refuse_missing_keys(manifest: Manifest) -> None:
    if missing := missing_keys(manifest):
        raise BackupError(
            f"Keys that were set when the backup was made are not set now: {described(missing)}. Set them as they were "
            f"(old FIELD_ENCRYPTION_KEYS go behind the new ones). Without them these are lost: {losses(missing)}. "
            "`--without-keys` restores anyway."
        )


def described(keys: dict[str, str]) -> str:
    return ", ".join(f"{setting} with the fingerprint {fingerprint}" for fingerprint, setting in keys.items())


def losses(keys: dict[str, str]) -> str:
    return "; ".join(LOST.get(setting, setting) for setting in dict.fromkeys(keys.values()))


def refuse_unfit_database(manifest: Manifest) -> None:
    """It must be there, not be older than the one that was backed up, and hold nothing."""
    try:
        version = server_version()
    except OperationalError as error:
        if re.search('role ".*" does not exist', str(error)):
            raise BackupError(f"The role does not exist yet. {how_to_create(role_too=True)}") from error
        if re.search('database ".*" does not exist', str(error)):
            raise BackupError(f"The database does not exist yet. {how_to_create()}") from error
        raise
    if version // 10_000 < manifest.postgresql // 10_000:
        raise BackupError(
            f"This server is PostgreSQL {version // 10_000}, and the backup comes from {manifest.postgresql // 10_000}:"
            " a dump can only be restored into the same or a newer version."
        )
    if found := relations():
        raise BackupError(
            f"The database is not empty: it contains {_some(found)}. Restore into an empty one, so that nothing is "
            f"overwritten: {how_to_set_aside()}"
        )


def refuse_unfit_program(pg_restore: DatabaseProgram, manifest: Manifest) -> None:
    server = server_version()
    if is_too_new(pg_restore.major, server):
        major = server // 10_000
        what = f"{pg_restore.path} is version {pg_restore.major}, which cannot restore into PostgreSQL {major}"
        if is_too_new(manifest.dump.pg_dump, server):
            what += f", and pg_dump {manifest.dump.pg_dump} made the dump. Restore into PostgreSQL 17 or newer."
        else:
            what += f". Install the package postgresql-client-{major}."
        raise BackupError(what)


def how_to_create(*, role_too: bool = False) -> str:
    role, name = map(shlex.quote, _role_and_name())
    as_postgres = "runuser -u postgres --"
    create = f"{as_postgres} createdb --template=template0 --encoding=UTF8 --owner={role} {name}"
    if role_too:
        create = f"{as_postgres} createuser --pwprompt {role} && {create}"
    return f"On the server, as root: {create}"


def how_to_set_aside() -> str:
    _, name = _role_and_name()
    quoted = connection.ops.quote_name(name)
    aside = connection.ops.quote_name(f"{name}_before")
    rename = shlex.quote(f"ALTER DATABASE {quoted} RENAME TO {aside}")
    return (
        "stop all processes of the platform, keep the old database under another name (on the server, as root: "
        f"runuser -u postgres -- psql --command={rename}), and create an empty one: {how_to_create()}"
    )


def _role_and_name() -> tuple[str, str]:
    settings = connection.settings_dict
    return str(settings["USER"] or settings["NAME"]), str(settings["NAME"])


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
