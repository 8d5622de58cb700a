"""What is in the database: schema, partitions, secrets, work that waits, people."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from core.partitions.weeks import WEEK, WEEKS_AHEAD, covers, partitions_of, week_of
from ingestion.models import OutboxEntry
from installation.doctor.checks import Check, Visit
from installation.doctor.findings import CheckOutcome, good, problem, warning
from installation.doctor.postgresql import LANE, in_database
from lifecycle.re_encrypting import count_sample
from observability.metrics.queries import default_partition_rows, oldest_due_seconds
from observability.schema_version import Fit, judge_schema
from organizations.models import Organization
from organizations.user_names import odd_names

PART = "data"
# Beat sweeps every 2 s: events older than this have no worker.
MAX_UNPROCESSED_SECONDS = 60
# Beat makes them each hour: two weeks without mean that it has not for long.
_WEEKS_WANTED = WEEKS_AHEAD - 1
# As the alert DeliveriesLate has it.
_LATE_WEBHOOK_SECONDS, _VERY_LATE_WEBHOOK_SECONDS = 120, 600
# Of each kind, from both ends: a tenth of a second at most.
_SAMPLE = 50
_MOST_NAMES = 2_000
_MAKE_PARTITIONS = "manage.py make_partitions"


@in_database
def _migrations(visit: Visit) -> CheckOutcome:
    found = visit.schema = judge_schema()
    if found.fit is not Fit.CODE_NEWER:
        return good("All migrations of this version are applied.")
    return problem(found.what, found.remedy)


@in_database
def _newer_migrations(visit: Visit) -> CheckOutcome:
    found = visit.schema or judge_schema()
    if found.fit is Fit.CODE_TOO_OLD:
        return problem(found.what, found.remedy)
    if found.fit is Fit.CODE_OLDER:
        return warning(found.what, found.remedy)
    return good("The database is not newer than this version.")


@in_database
def _partitions(visit: Visit) -> CheckOutcome:
    now = week_of(timezone.now())
    missing = tables_without([now + ahead * WEEK for ahead in range(_WEEKS_WANTED + 1)])
    if not missing:
        return good(f"This week and the next {_WEEKS_WANTED} have partitions.")
    first = min(missing)
    say = problem if first - now < timedelta(weeks=2) else warning
    return say(
        f"The week of {first:%Y-%m-%d} has no partition of {', '.join(missing[first])}.",
        f"Run `{_MAKE_PARTITIONS}`, which says what blocks it; and see why beat and the worker did not, each hour.",
    )


def tables_without(weeks: Sequence[datetime]) -> dict[datetime, list[str]]:
    """Week → those of the partitioned tables that have no partition for it; without the weeks that lack none."""
    found = {table: partitions_of(table) for table in settings.PARTITIONED_TABLES}
    lacking = {week: [table for table, there in found.items() if not covers(there, week)] for week in weeks}
    return {week: tables for week, tables in lacking.items() if tables}


@in_database
def _default_partitions(visit: Visit) -> CheckOutcome:
    caught = {table: count for table in settings.PARTITIONED_TABLES if (count := default_partition_rows(table))}
    if not caught:
        return good("No row went into a default partition.")
    listed = ", ".join(
        f"{table}_default ({'1000 or more' if count == 1000 else count})" for table, count in caught.items()
    )
    return warning(
        f"Rows whose week had no partition are in {listed}: they slow retention down.",
        f"Run `{_MAKE_PARTITIONS}`: it moves those of this week and the next ones. Check the clocks of all hosts.",
    )


@in_database
def _stored_secrets(visit: Visit) -> CheckOutcome:
    tally = count_sample(rows=_SAMPLE)
    looked_at = tally.current + tally.old_key + tally.clear + tally.unreadable
    if tally.unreadable:
        return problem(
            f"{tally.unreadable} of {looked_at} stored secrets checked cannot be decrypted: their webhooks are"
            " not sent, their people cannot sign in.",
            "Put the keys that FIELD_ENCRYPTION_KEYS had before behind the ones that it has (or, if it was empty, the"
            " SECRET_KEY of that time back), and restart all processes. The backup names the fingerprints.",
        )
    if tally.old_key or tally.clear:
        return warning(
            f"{tally.old_key} of {looked_at} stored secrets checked are encrypted with an older key, {tally.clear} in"
            " the clear.",
            "Run `manage.py rotate_encryption_keys`; drop the old key only after that.",
        )
    return good(
        f"The {looked_at} stored secrets checked are encrypted with the first key."
        if looked_at
        else "No secrets are stored yet."
    )


@in_database
def _processing(visit: Visit) -> CheckOutcome:
    age = OutboxEntry.objects.oldest_age_seconds()
    if age < MAX_UNPROCESSED_SECONDS:
        return good("Events are processed as they arrive.")
    return problem(
        f"The oldest accepted event has been waiting {age:.0f} s to be processed; a second is normal.",
        "See the findings of the part `processes`, the worker's log, and docs/operations/runbooks.md (OutboxLags).",
    )


@in_database
def _sending(visit: Visit) -> CheckOutcome:
    age = oldest_due_seconds()
    if age < _LATE_WEBHOOK_SECONDS:
        return good("Webhooks are sent when they are due.")
    say = problem if age >= _VERY_LATE_WEBHOOK_SECONDS else warning
    return say(
        f"A webhook has been due for {age:.0f} s and was not sent.",
        "See the findings of the part `processes`, the sender's log, and docs/operations/runbooks.md (DeliveriesLate).",
    )


@in_database
def _organizations(visit: Visit) -> CheckOutcome:
    if Organization.objects.exists():
        return good("There is an organization.")
    return warning(
        "There is no organization yet: nobody can send events.",
        "Run `manage.py create_organization NAME --plan pro`, then `manage.py issue_key NAME`.",
    )


@in_database
def _superusers(visit: Visit) -> CheckOutcome:
    if User.objects.filter(is_superuser=True, is_active=True).exists():
        return good("There is a superuser.")
    return warning(
        "There is no active superuser: nobody can manage organizations and people in the admin.",
        "Run `manage.py createsuperuser`.",
    )


@in_database
def _user_names(visit: Visit) -> CheckOutcome:
    odd = odd_names(most=_MOST_NAMES)
    if not odd:
        return good("No user name could be mistaken for another.")
    listed = ", ".join(ascii(name) for name in odd[:5]) + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
    return warning(
        f"Names that a new account could not have, as they could be mistaken for others: {listed}. They keep working.",
        "Find out whose they are, and rename them in the admin (Users).",
    )


def _needing(name: str, run: Callable[[Visit], CheckOutcome], *, needs: str = "migrations") -> Check:
    """Without this version's schema, the queries may fail."""
    return Check(part=PART, name=name, run=run, lane=LANE, needs=needs)


CHECKS = (
    _needing("migrations", _migrations, needs="postgresql"),
    _needing("newer_migrations", _newer_migrations, needs="postgresql"),
    _needing("partitions", _partitions),
    _needing("default_partitions", _default_partitions),
    _needing("stored_secrets", _stored_secrets),
    _needing("processing", _processing),
    _needing("sending", _sending),
    _needing("organizations", _organizations),
    _needing("superusers", _superusers),
    _needing("user_names", _user_names),
)
