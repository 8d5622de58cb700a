"""How fast the pages for people are, and how many queries they make, with few events and with many."""

import json
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.comparing import facts_of
from benchmarks.console_report import Figures, NotMeasured, PageRow, PagesReport
from benchmarks.lab import Lab, running_lab
from benchmarks.options import Options
from benchmarks.progress import Progress
from events_platform.up.postgres import create_database, database_url

FEW = 10_000
TENANTS = 200
WARM_UP = 3


def run_console(options: Options, progress: Progress) -> PagesReport:
    """Seed two databases, unless `--keep` has them, and ask for every page in both by turns."""
    facts = facts_of(options)
    progress.say("Starting PostgreSQL and Valkey")
    with running_lab(options.keep) as lab:
        databases = [_seeded(lab, events, progress) for events in (FEW, options.events)]
        wanted = {"databases": databases, "requests": options.requests, "warm_up": WARM_UP, "rows": options.rows}
        # The pool of a web process (events_platform.asgi), which these pages would have there.
        environment = {**_environment(lab, databases[0]), "DATABASE_POOL_SIZE": "16"}
        answer = lab.run(
            "-m", "benchmarks.platform_pages",
            environment=environment, stdin=json.dumps(wanted), shows_progress=True,
        )  # fmt: skip
    # The last line: what comes before it are logs.
    found = json.loads(answer.splitlines()[-1])
    counts = {"few": FEW, "many": options.events, "requests": options.requests, "warm_up": WARM_UP, "tenants": TENANTS}
    return PagesReport(
        facts={**facts, **counts},
        rows=[_row(values) for values in found["rows"]],
        not_measured=[NotMeasured(**values) for values in found["not_measured"]],
    )


def _seeded(lab: Lab, events: int, progress: Progress) -> str:
    """The name of a database of so many events. It gets that name when it is complete."""
    name, unfinished = f"console_{events}", "console_unfinished"
    with psycopg.connect(database_url(lab.data, "postgres"), autocommit=True) as connection:
        known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
        if known is None:
            progress.say(f"Seeding {events:,} events")
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(unfinished)))
            create_database(lab.data, unfinished)
            environment = _environment(lab, unfinished)
            lab.run("manage.py", "migrate", "--verbosity", "0", environment=environment)
            seed = ("seed", "--events", str(events), "--tenants", str(TENANTS))
            progress.say(lab.run("manage.py", *seed, environment=environment, shows_progress=True).strip())
            rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
            connection.execute(rename.format(sql.Identifier(unfinished), sql.Identifier(name)))
    # What was kept may be older than the newest migration.
    lab.run("manage.py", "migrate", "--verbosity", "0", environment=_environment(lab, name))
    return name


def _environment(lab: Lab, database: str) -> dict[str, str]:
    return {
        **lab.platform_environment(),
        "DATABASE_URL": database_url(lab.data, database),
        # Secrets in a kept database are encrypted by a key that is made of it.
        "SECRET_KEY": "console-benchmark".ljust(50, "-"),
        # The log of requests is no part of what is shown.
        "LOG_LEVEL": "ERROR",
    }


def _row(values: dict[str, Any]) -> PageRow:
    return PageRow(**{**values, "few": Figures(**values["few"]), "many": Figures(**values["many"])})
