"""Get running jobs on, portion by portion, whatever their kind.

A portion is one transaction: claim the job, do the next of its work, move its cursor. A killed portion leaves nothing
behind and is done again; several processes may run the jobs of a kind at the same time.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from django.db import Error, OperationalError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from psycopg.errors import QueryCanceled

from core.broker.long_tasks import TURN_SECONDS, long_task
from core.postgresql.faults import is_passing
from organizations.jobs.models import Job, JobStatus

logger = logging.getLogger(__name__)
J = TypeVar("J", bound=Job)
# Sweeps in a row, each 5 s after the one before. What fails in our code so often will not succeed. What takes too long
# may wait for a lock, which passes.
MAX_FAILURES = 5
MAX_TIMEOUTS = 60
JOBS_PER_ROUND = 100


class TookTooLongError(Exception):
    """A portion got nowhere in its time, and left nothing behind."""


@dataclass(frozen=True, kw_only=True)
class JobKind(Generic[J]):
    """`jobs`: those of the kind that may go on while they are running, with what a portion wants to know of them.

    `portion` does the next of a job's work, moves the cursor and the counts of the job that it is given, and ends it
    after the last; it returns how much it did, or None when there is nothing to do before the next sweep. `give_up`
    clears away what a failed job leaves.
    """

    jobs: "QuerySet[J]"
    portion: Callable[[J, datetime], int | None]
    max_timeouts: int = MAX_TIMEOUTS
    give_up: Callable[[J], object] = bool


def take_turn(run: Callable[..., int]) -> int:
    """Call `run(seconds=…)` when the worker has a place for it; otherwise the next sweep does its work."""
    with long_task() as has_place:
        return run(seconds=TURN_SECONDS) if has_place else 0


def run_jobs(kind: JobKind[J], *, seconds: float = 20.0) -> int:
    """Get the running jobs on for some `seconds`; returns how much the portions did.

    Organizations take turns, and so do the jobs of each. One that failed, that somebody else is at, or that has nothing
    to do, waits for the next sweep. Raises what is PostgreSQL's trouble, and no job's.
    """
    deadline = time.monotonic() + seconds
    made = 0
    turns: Counter[UUID] = Counter()
    resting: set[UUID] = set()
    while time.monotonic() < deadline and (chosen := _choose(kind, turns, resting)):
        for job_id in chosen:
            step = _run_or_note(kind, job_id)
            if step is None:
                resting.add(job_id)
            made += step or 0
            turns[job_id] += 1
    return made


@transaction.atomic
def run_portion(kind: JobKind[J], job_id: UUID, now: datetime) -> int | None:
    """How much it did; None when somebody else is at the job or there is nothing to do before the next sweep."""
    job = _running(kind).filter(pk=job_id).select_for_update(skip_locked=True, of=("self",)).first()
    if job is None:
        return None
    step = kind.portion(job, now)
    job.failures, job.failure = 0, ""
    job.save(force_update=True)
    return step


def _running(kind: JobKind[J]) -> "QuerySet[J]":
    return kind.jobs.filter(status=JobStatus.RUNNING)


def _choose(kind: JobKind[J], turns: Mapping[UUID, int], resting: Collection[UUID]) -> list[UUID]:
    """Of each organization the job that had the fewest turns, then the oldest."""
    ready = _running(kind).exclude(pk__in=resting).order_by("pk").values_list("organization_id", "pk")
    of_each: dict[UUID, UUID] = {}
    for organization_id, pk in ready:
        if organization_id not in of_each or turns[pk] < turns[of_each[organization_id]]:
            of_each[organization_id] = pk
    return sorted(of_each.values(), key=lambda pk: (turns[pk], pk))[:JOBS_PER_ROUND]


def _run_or_note(kind: JobKind[J], job_id: UUID) -> int | None:
    """One portion; a job that fails holds up no other one."""
    what = f"{kind.jobs.model._meta.verbose_name} {job_id}"
    try:
        return run_portion(kind, job_id, timezone.now())
    except Exception as error:
        is_timeout = isinstance(error, OperationalError) and isinstance(error.__cause__, QueryCanceled)
        if is_timeout or isinstance(error, TookTooLongError):
            logger.warning("a portion of %s took too long", what)
            failure, at_most = "A batch took too long.", kind.max_timeouts
        elif isinstance(error, Error) and is_passing(error):
            raise
        else:
            logger.exception("a portion of %s failed", what)
            failure, at_most = f"A batch could not be made ({type(error).__name__}).", MAX_FAILURES
    _note_failure(kind, job_id, failure, at_most=at_most)
    return None


@transaction.atomic
def _note_failure(kind: JobKind[J], job_id: UUID, failure: str, *, at_most: int) -> None:
    """After so many in a row it ends: its place is free for another one, and its events are for retention."""
    job = _running(kind).filter(pk=job_id).select_for_update(of=("self",)).first()
    if job is None:
        return
    job.failures, job.failure = job.failures + 1, failure
    if job.failures >= at_most:
        job.end(JobStatus.FAILED, timezone.now())
        kind.give_up(job)
    job.save(force_update=True)
