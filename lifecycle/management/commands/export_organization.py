"""`manage.py export_organization acme --to acme.zip`: everything of an organization, as NDJSON."""

import sys
import zipfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from lifecycle.exporting import Archive, Folder, export_organization
from lifecycle.organization_names import find_organization
from organizations.models import Organization


class Command(BaseCommand):
    help = "Write everything of an organization to a folder or a .zip file: NDJSON and a manifest, without secrets."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("organization", help="slug or id")
        parser.add_argument("--to", required=True, type=Path, metavar="PATH", help="a new folder, or a new .zip file")

    def handle(self, *_args: Any, organization: str, to: Path, **_options: Any) -> None:
        found = find_organization(organization)
        if to.exists():
            raise CommandError(f"{to} exists already. Name a new folder or file.")
        manifest = self._write(found, to)
        for file in manifest["files"]:
            self.stdout.write(f"{file['rows']:>10} {file['name']}")
        self.stdout.write(f"Written: {to}")

    def _write(self, organization: Organization, to: Path) -> dict[str, Any]:
        """Only its owner may read what is written."""
        now = timezone.now()
        if to.suffix == ".zip":
            to.touch(mode=0o600)
            with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
                target = Archive(archive=archive)
                return export_organization(organization=organization, target=target, now=now, told=_tell)
        to.mkdir(mode=0o700)
        return export_organization(organization=organization, target=Folder(path=to), now=now, told=_tell)


def _tell(name: str, rows: int) -> None:
    """How many rows there are is not known before: counting a large table takes as long as reading it."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{name}: {rows}")
        sys.stderr.flush()
