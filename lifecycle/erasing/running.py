"""Get the running erasures on: by beat, and by the commands."""

import logging

from django.utils import timezone

from core.postgresql.faults import is_passing
from lifecycle.erasing.events import run_event_erasure
from lifecycle.erasing.organization import run_organization_erasure
from lifecycle.models import Erasure, ErasureKind, ErasureStatus
from lifecycle.retention.steps import SECONDS_PER_PORTION, Budget
from lifecycle.single_runner import single_runner

logger = logging.getLogger(__name__)
_LOCK = 7_022_028
# One that fails so often in a row waits for a person.
MAX_FAILURES = 5


def run_erasures(*, seconds: float = SECONDS_PER_PORTION) -> bool | None:
    """Work for about `seconds`; whether there was something to do, or None when another process is at it."""
    budget = Budget(seconds)
    with single_runner(_LOCK) as is_ours:
        if not is_ours:
            return None
        running = Erasure.objects.filter(status=ErasureStatus.RUNNING).order_by("pk")
        return any(_run_or_log(erasure, budget) for erasure in running if not budget.is_spent)


def _run_or_log(erasure: Erasure, budget: Budget) -> bool:
    """An erasure that fails holds up no other one."""
    run = run_organization_erasure if erasure.kind == ErasureKind.ORGANIZATION else run_event_erasure
    try:
        made = run(erasure, budget, now=timezone.now())
    except Exception as error:
        logger.exception("erasure %s failed; the next sweep tries again", erasure.pk)
        if not is_passing(error):
            _note_failure(erasure)
        return False
    Erasure.objects.filter(pk=erasure.pk).exclude(failures=0).update(failures=0)
    return made


def _note_failure(erasure: Erasure) -> None:
    failures = erasure.failures + 1
    changes = {"status": ErasureStatus.FAILED, "finished_at": timezone.now()} if failures >= MAX_FAILURES else {}
    Erasure.objects.filter(pk=erasure.pk).update(failures=failures, **changes)
