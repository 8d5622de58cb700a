"""The health page of the console, for operators: the same findings, without mail and without requests to ourselves."""

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from console.access import may_see_health
from console.pages import signed_in
from console.rendering import render_page
from core.postgresql.lending import give_back
from core.postgresql.statement_limits import short_statements
from core.version import VERSION, revision
from installation.doctor.checks import Visit
from installation.doctor.examining import PARTS, examine
from installation.doctor.findings import Finding, Status, counts, worst
from installation.health.now import Figures, figures

# A server that waited for a request to itself, through the proxy, might wait for its own last free process.
_NOT_HERE = ("proxy", "mail")
_TITLES = {part: part.title().replace("Postgresql", "PostgreSQL") for part in PARTS if part not in _NOT_HERE}
_CHECK_SECONDS, _ALL_SECONDS = 2.0, 6.0
_FIGURES_MS = 1_000
# However often somebody reloads the page, one process looks no more often than this.
CACHE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What was found, and when."""

    findings: list[Finding]
    figures: Figures | None
    at: datetime
    until: float = field(default=0.0)


_lock = threading.Lock()
_last: Examination | None = None


def forget_examination() -> None:
    global _last  # noqa: PLW0603 - the process has one
    _last = None


def _examination() -> Examination:
    """The last one while it is young; whoever comes meanwhile waits for the one that is made."""
    global _last  # noqa: PLW0603 - likewise
    with _lock:
        if _last is None or time.monotonic() >= _last.until:
            findings = examine(Visit(), skip=_NOT_HERE, check_seconds=_CHECK_SECONDS, all_seconds=_ALL_SECONDS)
            _last = Examination(
                findings=findings,
                figures=_figures(findings),
                at=datetime.now(UTC),
                until=time.monotonic() + CACHE_SECONDS,
            )
        return _last


def _figures(findings: list[Finding]) -> Figures | None:
    """None when PostgreSQL does not answer: the findings say so."""
    try:
        with short_statements(_FIGURES_MS):
            return figures(findings)
    except (DatabaseError, InterfaceError):
        return None


@require_safe
@signed_in
def health_page(request: HttpRequest) -> HttpResponse:
    """What needs a hand first, then everything else by part. Superusers and the group `operator` see it."""
    if not may_see_health(cast(User, request.user)):
        raise PermissionDenied
    give_back()
    found = _examination()
    trouble = [each for status in (Status.PROBLEM, Status.WARNING) for each in found.findings if each.status is status]
    number = counts(found.findings)
    context = {
        "at": found.at,
        "figures": found.figures,
        "trouble": trouble,
        "parts": [(title, [each for each in found.findings if each.part == part]) for part, title in _TITLES.items()],
        "worst": worst(found.findings).value,
        "problems": number[Status.PROBLEM],
        "warnings": number[Status.WARNING],
        "good": number[Status.OK],
        "skipped": number[Status.SKIPPED],
        "version": VERSION,
        "revision": revision(),
    }
    return render_page(request, "console/health.html", context, section="health")
