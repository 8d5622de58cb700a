"""Get the running erasures on: by beat, and by the commands."""

from datetime import datetime
from functools import partial

from lifecycle.erasing.events import erase_events
from lifecycle.erasing.organization import erase_organization
from lifecycle.models import Erasure, ErasureKind
from organizations.jobs.running import JobKind, run_jobs


def _erase(erasure: Erasure, now: datetime) -> int | None:
    run = erase_organization if erasure.kind == ErasureKind.ORGANIZATION else erase_events
    return run(erasure, now)


ERASURES = JobKind(jobs=Erasure.objects.all(), portion=_erase)
run_erasures = partial(run_jobs, ERASURES)
