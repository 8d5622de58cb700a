"""`manage.py erase_events --organization acme --where data.user.email=ann@example.com [--redact data.user]`."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive

from lifecycle.asking import confirm
from lifecycle.erasing.events import (
    ErasureCriteria,
    InvalidCriteriaError,
    count_events,
    read_conditions,
    start_event_erasure,
)
from lifecycle.erasing.progress import work_until_over
from lifecycle.management.commands.erase_organization import finish
from lifecycle.organization_names import find_organization
from organizations.audit import Actor


class Command(BaseCommand):
    help = "Erase events of an organization with their deliveries, or redact parts of them, by what their data says."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", required=True, help="slug or id")
        parser.add_argument(
            "--where",
            action="append",
            default=[],
            metavar="PATH=VALUE",
            help="data.<path>=<value>, source=, subject= or idempotency_key=; all of them hold",
        )
        parser.add_argument("--type", default="", help="a type, or the start of types with *")
        parser.add_argument("--received-after", type=_moment, metavar="TIME", help="RFC 3339, inclusive")
        parser.add_argument("--received-before", type=_moment, metavar="TIME", help="RFC 3339, exclusive")
        parser.add_argument(
            "--redact",
            default="",
            metavar="PATHS",
            help="empty these instead, separated by commas: data.<path>, source, subject, …",
        )
        parser.add_argument("--dry-run", action="store_true", help="only count the events")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *_args: Any, **options: Any) -> None:
        organization = find_organization(options["organization"])
        try:
            criteria = ErasureCriteria(
                where=read_conditions(options["where"]),
                type=options["type"],
                received_after=options["received_after"],
                received_before=options["received_before"],
                redact=[path.strip() for path in options["redact"].split(",") if path.strip()],
            )
        except InvalidCriteriaError as error:
            raise CommandError(str(error)) from error
        count = count_events(organization.pk, criteria)
        self.stdout.write(f"{count} events of {organization} fit.")
        if options["dry_run"] or not count:
            return
        what = "redacted" if criteria.redact else "erased"
        if not options["yes"]:
            confirm(f"They will be {what}. Type yes to go on: ", answer="yes", otherwise="Nothing was changed.")
        started = start_event_erasure(organization=organization, criteria=criteria, actor=Actor.system("manage.py"))
        finish(self, work_until_over(started))


def _moment(text: str) -> datetime:
    moment = parse_datetime(text)
    if moment is None or is_naive(moment):
        raise ValueError("not a time with its offset")
    return moment
