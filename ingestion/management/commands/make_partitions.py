"""`manage.py make_partitions`: make the partitions of this week and the next ones, as beat does each hour."""

import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from core.partitions.making import Limits, make_partitions, weeks_wanted
from core.partitions.weeks import has_partition

_PAUSE_SECONDS = 5.0


class Command(BaseCommand):
    help = (
        "Make the missing partitions of this week and the next four, with the rows that the default partitions have"
        " caught. The platform goes on meanwhile."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--seconds", type=float, default=600.0, help="try for so long while tables are in use (default 600)"
        )
        parser.add_argument(
            "--hold",
            type=float,
            metavar="SECONDS",
            help="keep everybody waiting for up to so long a statement, to move any number of rows: with the platform"
            " stopped",
        )

    def handle(self, *_args: Any, seconds: float, hold: float | None, **_options: Any) -> None:
        limits = Limits() if hold is None else Limits(hold_ms=max(1, int(hold * 1000)), most_moved=10**9)
        deadline = time.monotonic() + seconds
        said: set[str] = set()

        def say_once(reason: str) -> None:
            if reason not in said:
                self.stderr.write(reason)
            said.add(reason)

        made = 0
        while True:
            for name in make_partitions(limits=limits, warn=say_once):
                self.stdout.write(f"made {name}")
                made += 1
            missing = _missing()
            if not missing:
                break
            if time.monotonic() >= deadline:
                raise CommandError(f"Still missing: {', '.join(missing)}. Beat tries again each hour.")
            time.sleep(_PAUSE_SECONDS)
        if not made:
            self.stdout.write("This week and the next four have their partitions already.")


def _missing() -> list[str]:
    weeks = weeks_wanted(timezone.now())
    return [
        f"{table} of {week:%Y-%m-%d}"
        for table in settings.PARTITIONED_TABLES
        for week in weeks
        if not has_partition(table, week)
    ]
