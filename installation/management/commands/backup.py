"""`manage.py backup /var/backups/events-platform --keep 14`: a dump and its manifest, while the platform runs."""

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from installation.backup.checking import described
from installation.backup.making import make_backup
from installation.backup.output import Output, megabytes


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


class Command(BaseCommand):
    help = "Back up the database into a new folder in DIR: a dump and a manifest. Never keys: keep those elsewhere."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR", help="where backups are; created if missing")
        parser.add_argument("--keep", type=_at_least_one, metavar="N", help="remove all but the newest N afterwards")
        parser.add_argument("--check", action="store_true", help="read the whole dump back before accepting it")

    def handle(self, *_args: Any, folder: Path, keep: int | None, check: bool, **_options: Any) -> None:
        output = Output(self.stdout)
        with output.failures():
            made = make_backup(parent=folder, keep=keep, read_back=check, say=output.say, on_bytes=output.show_bytes)
        manifest = made.manifest
        for name in made.removed:
            output.say(f"Removed {name}.")
        if newest := manifest.state.newest_event:
            output.say(f"The newest event is {newest.id}, received {newest.received_at:%Y-%m-%d %H:%M:%S} UTC.")
        output.say(f"To restore it needs {described(manifest.keys)}, which is not in it: keep keys elsewhere.")
        output.say(f"Backed up {megabytes(manifest.dump.size)} to {made.folder}")
