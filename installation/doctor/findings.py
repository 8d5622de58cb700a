"""What a check says: an outcome, and with its name and part a finding."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class CheckOutcome:
    """`what` was seen, in a sentence; `remedy` is what to do now, empty when nothing is."""

    status: Status
    what: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`name` is stable and has a line in docs/operations/doctor.md."""

    part: str
    name: str
    status: Status
    what: str
    remedy: str


def good(what: str) -> CheckOutcome:
    return CheckOutcome(status=Status.OK, what=what)


def warning(what: str, remedy: str) -> CheckOutcome:
    return CheckOutcome(status=Status.WARNING, what=what, remedy=remedy)


def problem(what: str, remedy: str) -> CheckOutcome:
    return CheckOutcome(status=Status.PROBLEM, what=what, remedy=remedy)


def skipped(why: str) -> CheckOutcome:
    return CheckOutcome(status=Status.SKIPPED, what=why)


def counts(findings: Iterable[Finding]) -> dict[Status, int]:
    """Of each status, those without a finding too."""
    found = Counter(finding.status for finding in findings)
    return {status: found[status] for status in Status}


def worst(findings: Iterable[Finding], *, strict: bool = False) -> Status:
    """`problem`, `warning` or `ok` of all together; with `strict` a warning is a problem."""
    statuses = {finding.status for finding in findings}
    if Status.PROBLEM in statuses or (strict and Status.WARNING in statuses):
        return Status.PROBLEM
    return Status.WARNING if Status.WARNING in statuses else Status.OK
