"""`manage.py apply_retention [--dry-run]`: remove what is past its time, or show what would go."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from core.progress import progress_bar
from lifecycle.retention.running import apply_retention, preview, steps
from lifecycle.retention.steps import MAX_COUNTED, Removable, Step

_LINE = "{:<42} {:<32} {:>9} {:>6}  {}"


class Command(BaseCommand):
    help = "Remove events and everything else that is past its time, as beat does each hour."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only show what would be removed now")
        parser.add_argument("--seconds", type=float, default=3600.0, help="begin no batch after so long (default 3600)")

    def handle(self, *_args: Any, dry_run: bool, seconds: float, **_options: Any) -> None:
        if dry_run:
            self._show()
            return
        done: list[Step] = []
        with progress_bar("Retained", len(steps())) as progress:

            def on_progress(step: Step, _: int) -> None:
                done.append(step)
                progress.show(len(done))

            run = apply_retention(seconds=seconds, on_progress=on_progress)
        if run is None:
            raise CommandError("Another run of retention is on. Wait for it, or look what it does in the logs.")
        for what, count in run.removed.items():
            self.stdout.write(f"{what}: {count}")
        if not run.is_over:
            self.stdout.write("The time is over, and there is more. Run it again.")

    def _show(self) -> None:
        self.stdout.write(_LINE.format("what", "kept", "rows", "weeks", "oldest").rstrip())
        for step, found in preview(now=timezone.now()):
            oldest = f"{found.oldest:%Y-%m-%d %H:%M}" if found.oldest else "–"
            self.stdout.write(
                _LINE.format(step.what, step.period, _rows(found), len(found.partitions) or "", oldest).rstrip()
            )
            for name in found.partitions:
                self.stdout.write(f"  {name}")


def _rows(found: Removable) -> str:
    if found.partitions:
        return f"~{found.rows}"
    return str(found.rows) if found.rows <= MAX_COUNTED else f"{MAX_COUNTED}+"
