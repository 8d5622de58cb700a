"""Fill an empty platform with a month of made-up history, to try pages and queries on a large data set."""

import os
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.utils import timezone
from psycopg.conninfo import make_conninfo

from core.partitions.making import attach_partition, make_partitions
from core.partitions.weeks import WEEK, has_partition, week_of
from core.postgresql.short_locks import InUseError, TooLongError
from core.progress import progress_bar
from demo.seeding.filling import Connection, NotWrittenError, Week, fill_week, naming, table_of
from demo.seeding.history import Counts
from demo.seeding.plan import Plan
from demo.seeding.processes import fill_weeks
from demo.seeding.statistics import write_statistics
from demo.seeding.tenants import make_tenants

# More have nothing to do: a month has five weeks, and PostgreSQL needs the other half of the cores.
_MAX_PROCESSES = 4
# Starting processes takes a second.
_WORTH_PROCESSES = 200_000


class Command(BaseCommand):
    help = "Add organizations with a month of events, deliveries and attempts. For trials; not for a platform in use."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--events", type=int, default=100_000, help="how many events (default 100 000)")
        parser.add_argument("--tenants", type=int, default=200, help="how many organizations (default 200)")
        parser.add_argument("--random-seed", type=int, default=1, help="the same number creates the same data")
        parser.add_argument("--processes", type=int, help="processes that write (default: by cores and events)")

    def handle(
        self, *_args: Any, events: int, tenants: int, random_seed: int, processes: int | None, **_options: Any
    ) -> None:
        if events < 1 or tenants < 1 or (processes is not None and processes < 1):
            raise CommandError("--events, --tenants and --processes must be 1 or more.")
        started = time.monotonic()
        make_partitions()
        plan = Plan(tenants=make_tenants(tenants), now=timezone.now(), events=events, random_seed=random_seed)
        if processes is None:
            processes = min(_MAX_PROCESSES, os.cpu_count() or 1) if events >= _WORTH_PROCESSES else 1
        with progress_bar("Seeded", events) as progress:
            written = 0

            def report(more: int) -> None:
                nonlocal written
                written += more
                progress.show(written)

            _write(plan, processes, report)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        self.stdout.write(f"{events} events of {tenants} organizations in {time.monotonic() - started:.0f} s")


def _write(plan: Plan, processes: int, report: Callable[[int], None]) -> None:
    weeks = list(_weeks(plan))
    filled: Iterable[tuple[Week, Counts]]
    if processes == 1:
        filled = ((week, _fill(plan, week, report)) for week in weeks)
    else:
        filled = fill_weeks(_conninfo(), plan, weeks, processes=processes, report=report)
    counts = Counts()
    try:
        for _, of_week in filled:
            counts.add(of_week)
    except NotWrittenError as error:
        remedy = "Other weeks may be written already: when this is mended, begin again with an empty database."
        raise CommandError(f"{error} {remedy}") from error
    # A process that fills a week has locks of the tables that it is to be a part of.
    for week in weeks:
        _attach(week)
    write_statistics(plan, counts)


def _attach(week: Week) -> None:
    for table in week.new:
        try:
            attach_partition(table, week.start, filled=table_of(table, week.start))
        except (InUseError, TooLongError) as error:
            raise CommandError(f"The week of {week.start:%Y-%m-%d} was not added: {error}.") from error


def _weeks(plan: Plan) -> Iterator[Week]:
    start: datetime = week_of(plan.start)
    while start <= plan.now:
        numbers = range(plan.first_at(start), plan.first_at(start + WEEK))
        new = tuple(table for table in settings.PARTITIONED_TABLES if not has_partition(table, start))
        if numbers:
            yield Week(start=start, end=start + WEEK, numbers=numbers, new=new)
        start += WEEK


def _fill(plan: Plan, week: Week, report: Callable[[int], None]) -> Counts:
    with naming(week), transaction.atomic():
        connection.ensure_connection()
        return fill_week(cast(Connection, connection.connection), plan, week, report)


def _conninfo() -> str:
    """Of Django's own connection, for processes without Django."""
    names = ("dbname", "user", "password", "host", "port", "options")
    given = connection.get_connection_params()
    return make_conninfo(**{name: given[name] for name in names if given.get(name)})
