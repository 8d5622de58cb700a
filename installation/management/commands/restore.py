"""`manage.py restore /var/backups/events-platform`: the newest backup there, or the one that is named."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command, get_commands
from django.core.management.base import BaseCommand, CommandError

from installation.backup.checking import described, losses, missing_keys
from installation.backup.folders import backup_at, complete_backups
from installation.backup.manifest import Manifest, read_manifest
from installation.backup.output import Output, megabytes
from installation.backup.restoring import complete_database, needs_migrate, restore_backup

# Nothing runs yet, and the proxy may have nothing to lead to.
_DOCTOR_SKIPS = ["proxy", "processes"]


class Command(BaseCommand):
    help = "Restore a backup into the database of DATABASE_URL, which must be empty, and compare it with its manifest."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR", help="a backup, or a folder of backups: the newest one")
        parser.add_argument("--list", action="store_true", help="only list the backups, and whether their keys are set")
        parser.add_argument(
            "--without-keys", action="store_true", help="continue if keys are missing, and lose secrets"
        )

    def handle(self, *_args: Any, folder: Path, without_keys: bool, **options: Any) -> None:
        output = Output(self.stdout)
        with output.failures():
            if options["list"]:
                self._show(folder)
                return
            backup = backup_at(folder)
            output.say(f"Restoring {backup}")
            manifest = restore_backup(
                folder=backup, without_keys=without_keys, say=output.say, on_bytes=output.show_bytes
            )
            self._finish(manifest)

    def _show(self, folder: Path) -> None:
        backup_at(folder)
        for backup in complete_backups(folder) or [folder]:
            manifest = read_manifest(backup)
            missing = missing_keys(manifest)
            events = manifest.state.rows.get("ingestion_event", 0)
            self.stdout.write(
                f"{backup.name}  {megabytes(manifest.dump.size):>12}  {events:>12} events  version {manifest.version} "
                f"({manifest.revision})  {f'missing: {described(missing)}' if missing else 'all keys are set'}"
            )

    def _finish(self, manifest: Manifest) -> None:
        """What is left to do, and to say."""
        if missing := missing_keys(manifest):
            self.stdout.write(f"Lost without {described(missing)}: {losses(missing)}.")
        newest = manifest.state.newest_event
        if newest:
            self.stdout.write(f"The newest event is {newest.id}, received {newest.received_at:%Y-%m-%d %H:%M:%S} UTC.")
        if needs_migrate():
            self.stdout.write("The code is newer than the data. Before you start anything: manage.py migrate")
        else:
            complete_database()
            self.stdout.write("Restored. Start beat and workers, then web servers.")
        self._consult_doctor()

    def _consult_doctor(self) -> None:
        """What it finds is said, and does not make the restore a failure."""
        if "doctor" not in get_commands():
            return
        try:
            call_command("doctor", skip=_DOCTOR_SKIPS, stdout=self.stdout, stderr=self.stderr)
        except (CommandError, SystemExit) as error:
            if str(error) not in ("", "0"):
                sys.stderr.write("The data is restored. See to what doctor has found before you start the platform.\n")
