"""Findings for people at a terminal, and for programs."""

import textwrap
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from core.version import VERSION
from installation.doctor.findings import Finding, Status, counts, worst

# All of one width; they say the same without colour.
MARKS = {Status.OK: "  ok ", Status.WARNING: "warn ", Status.PROBLEM: "FAIL ", Status.SKIPPED: "  -  "}
_NAME_WIDTH = 24
Paint = Callable[[Status, str], str]


def as_data(findings: Sequence[Finding], *, strict: bool = False) -> dict[str, Any]:
    return {
        "status": worst(findings, strict=strict).value,
        "version": VERSION,
        "findings": [
            {"part": each.part, "name": each.name, "status": each.status, "what": each.what, "remedy": each.remedy}
            for each in findings
        ],
    }


def bad_setting(message: str) -> dict[str, Any]:
    """What `as_data` says when the settings stop the start."""
    remedy = "Fix or remove it: docs/settings.md describes the valid values."
    finding = Finding(part="settings", name="settings", status=Status.PROBLEM, what=message, remedy=remedy)
    return as_data([finding])


def as_text(findings: Sequence[Finding], *, paint: Paint, width: int, brief: bool = False) -> str:
    """Grouped by part, each remedy below its finding, and a last line with the counts; `brief`: only what to mend."""
    lines: list[str] = []
    shown = [each for each in findings if each.remedy or not brief]
    for part, found in groupby(shown, key=lambda finding: finding.part):
        lines.append(part)
        for finding in found:
            lines += _lines(finding, paint, width)
        lines.append("")
    number = counts(findings)
    said = [
        f"{number[Status.PROBLEM]} problem{'' if number[Status.PROBLEM] == 1 else 's'}",
        f"{number[Status.WARNING]} warning{'' if number[Status.WARNING] == 1 else 's'}",
        f"{number[Status.OK]} good",
        f"{number[Status.SKIPPED]} skipped",
    ]
    return "\n".join([*lines, paint(worst(findings), ", ".join(said) + ".")])


def _lines(finding: Finding, paint: Paint, width: int) -> list[str]:
    margin = " " * (len(MARKS[finding.status]) + _NAME_WIDTH)
    head = finding.name.ljust(_NAME_WIDTH)
    lines = _wrapped(finding.what, margin, width)
    lines[0] = head + lines[0].removeprefix(margin)
    lines[0] = paint(finding.status, MARKS[finding.status]) + lines[0]
    if finding.remedy:
        lines += _wrapped(f"→ {finding.remedy}", margin, width)
    return lines


def _wrapped(text: str, margin: str, width: int) -> list[str]:
    """Commands stay whole where they fit: a line breaks between words alone."""
    return textwrap.wrap(
        text, width, initial_indent=margin, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )
