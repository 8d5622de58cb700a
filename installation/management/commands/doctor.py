"""`manage.py doctor`: look at everything that operators get wrong, and say what to do about each."""

import json
import shutil
import sys
from dataclasses import replace
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from installation.doctor.checks import Visit
from installation.doctor.examining import ALL, PARTS, examine
from installation.doctor.findings import Finding, Status, worst
from installation.doctor.reporting import as_data, as_text

_WIDEST = 110


class Command(BaseCommand):
    help = (
        "Looks at settings, PostgreSQL, data, Redis, processes, disks, the proxy and the mail server, changes nothing,"
        " and says what to do. Exit status: 0, or 1 when there is a problem, or 2 for a bad setting or option."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        names = [check.name for check in ALL]
        parser.add_argument("--json", action="store_true", help="for programs: one JSON object")
        parser.add_argument("--strict", action="store_true", help="warnings count as problems")
        parser.add_argument("--skip", action="append", default=[], choices=PARTS, metavar="PART",
                            help=f"leave a part out: {', '.join(PARTS)}; may be repeated")  # fmt: skip
        parser.add_argument("--accept", action="append", default=[], choices=names, metavar="NAME",
                            help="accept a known warning, by its name; may be repeated")  # fmt: skip
        parser.add_argument("--mail-to", default="", metavar="ADDRESS", help="send a real test message there")

    def handle(self, *args: Any, **options: Any) -> None:
        found = examine(Visit(mail_to=options["mail_to"]), skip=options["skip"])
        findings = [_accepted(finding) if finding.name in options["accept"] else finding for finding in found]
        if options["json"]:
            self.stdout.write(json.dumps(as_data(findings, strict=options["strict"]), indent=1))
        else:
            width = min(shutil.get_terminal_size().columns, _WIDEST)
            self.stdout.write(as_text(findings, paint=self._paint, width=width, brief=not options["verbosity"]))
        if worst(findings, strict=options["strict"]) is Status.PROBLEM:
            sys.exit(1)

    def _paint(self, status: Status, text: str) -> str:
        styles = {
            Status.OK: self.style.SUCCESS,
            Status.WARNING: self.style.WARNING,
            Status.PROBLEM: self.style.ERROR,
        }
        return styles[status](text) if status in styles else text


def _accepted(finding: Finding) -> Finding:
    """A problem stays one: it is none that anybody can want."""
    if finding.status is not Status.WARNING:
        return finding
    return replace(finding, status=Status.SKIPPED, what=f"Accepted: {finding.what}", remedy="")
