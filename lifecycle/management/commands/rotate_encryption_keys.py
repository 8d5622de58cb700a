"""`manage.py rotate_encryption_keys [--check]`: put what is encrypted at rest under the first key, or count it."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.progress import progress_bar
from lifecycle.re_encrypting import Tally, count_tokens, re_encrypt_all, rows_in_all


class Command(BaseCommand):
    help = "Encrypt all stored secrets with the first of FIELD_ENCRYPTION_KEYS. It can be interrupted and run again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="only count; status 1 when something is left to do")

    def handle(self, *_args: Any, check: bool, **_options: Any) -> None:
        if check:
            found = count_tokens()
            self._say(found, old="with an old key", clear="not encrypted")
            if found.old_key or found.clear:
                raise CommandError("Run rotate_encryption_keys without --check before an old key is dropped.")
        else:
            with progress_bar("Renewed", max(rows_in_all(), 1)) as progress:
                found = re_encrypt_all(told=progress.show)
            self._say(found, old="renewed", clear="encrypted for the first time")
        if found.unreadable:
            raise CommandError(
                f"{found.unreadable} values are readable with no key: put the key that is missing behind the first one."
            )

    def _say(self, found: Tally, *, old: str, clear: str) -> None:
        self.stdout.write(f"with the first key: {found.current}\n{old}: {found.old_key}\n{clear}: {found.clear}")
