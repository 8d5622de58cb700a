"""What an operator watches: every part with its state, each asked by itself, so that one that hangs names itself.

The questions are the doctor's (installation.doctor), of which each part takes those that change while it runs.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.db import DatabaseError, InterfaceError
from redis.exceptions import RedisError

from installation.doctor.checks import Visit
from installation.doctor.examining import ALL, describe
from installation.doctor.findings import CheckOutcome, Finding, Status, problem, skipped
from installation.health.looks import Look, Silence
from installation.health.readiness import ANSWER_SECONDS, OK, look_at_intake


class State(StrEnum):
    OK = "ok"
    # Not as it should be, or will be trouble; changes no status code.
    NOTE = "note"
    FAILING = "failing"
    # Could not be learned: what it is asked of is away, slow, or does not tell.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Part:
    """`reason` is a sentence, often also where all is well."""

    state: State
    reason: str | None


_STATES = {
    Status.OK: State.OK,
    Status.SKIPPED: State.UNKNOWN,
    Status.WARNING: State.NOTE,
    Status.PROBLEM: State.FAILING,
}
# What was skipped says less than what was seen; see `_worst`.
_ORDER = (Status.PROBLEM, Status.WARNING, Status.OK, Status.SKIPPED)


def _failing(what: str) -> CheckOutcome:
    return problem(what, "")


@dataclass(frozen=True)
class _Question:
    """Checks of the doctor, one after another in one thread. `silence`: what it means when they do not answer."""

    names: tuple[str, ...]
    silence: Callable[[str], CheckOutcome] = skipped


_QUESTIONS: dict[str, tuple[_Question, ...]] = {
    "redis": (_Question(("redis",), _failing), _Question(("redis_memory",))),
    "broker": (_Question(("broker",), _failing),),
    "processing": (_Question(("processing",)),),
    "sending": (_Question(("sending",)),),
    "beat": (_Question(("beat",)),),
    "partitions": (_Question(("partitions", "default_partitions")),),
    "clock": (_Question(("process_clocks",)), _Question(("clock_redis",)), _Question(("clock_postgresql",))),
    "disk": (_Question(("disk_temporary", "disk_metrics")), _Question(("disk_postgresql",))),
    "migrations": (_Question(("migrations", "newer_migrations")),),
    "versions": (_Question(("process_versions",)),),
    "durability": (_Question(("postgresql_standby",)),),
}
_CHECKS = {check.name: check for check in ALL}


def _asking(names: Sequence[str]) -> Callable[[], list[CheckOutcome]]:
    return lambda: [_outcome(name) for name in names]


_looks: dict[str, list[tuple[_Question, Look[list[CheckOutcome]]]]] = {
    part: [(question, Look(_asking(question.names))) for question in questions]
    for part, questions in _QUESTIONS.items()
}


def look_at_all() -> dict[str, Part]:
    """Within ANSWER_SECONDS, whatever hangs. `intake` and `postgresql` are as readiness has them."""
    until = time.monotonic() + ANSWER_SECONDS
    for looks in _looks.values():
        for _, look in looks:
            look.begin()
    parts = _of_intake()
    for name, looks in _looks.items():
        parts[name] = _worst([each for question, look in looks for each in _said(question, look.said(until))])
    return parts


def parts_of(findings: Iterable[Finding]) -> dict[str, Part]:
    """The same of what an examination has just found, so that nothing but the intake is asked again.

    A check that did not end is a problem there, and so is its part.
    """
    found = {finding.name: finding for finding in findings}
    parts = _of_intake()
    for part, questions in _QUESTIONS.items():
        parts[part] = _worst([found[name] for question in questions for name in question.names])
    return parts


def forget_status() -> None:
    """Ask anew next time; for tests."""
    for looks in _looks.values():
        for _, look in looks:
            look.forget()


def _of_intake() -> dict[str, Part]:
    return {
        name: Part(State.OK, None) if reason == OK else Part(State.FAILING, reason)
        for name, reason in look_at_intake().items()
    }


def _outcome(name: str) -> CheckOutcome:
    """A server that is away is the failure of its own part, and says nothing about the others."""
    try:
        return _CHECKS[name].run(Visit())
    except (RedisError, DatabaseError, InterfaceError) as error:
        return skipped(f"It could not be checked: {describe(error)}.")
    except Exception as error:  # noqa: BLE001 - whatever it is, the other parts shall be seen
        return _failing(f"This check failed: {describe(error)}.")


def _said(question: _Question, answer: list[CheckOutcome] | Silence) -> list[CheckOutcome]:
    if isinstance(answer, Silence):
        return [question.silence(f"There has been no answer for {answer.seconds:.1f} s.")]
    return answer


def _worst(said: Sequence[CheckOutcome | Finding]) -> Part:
    """Of several answers the worst, all that are as bad in one reason."""
    worst = min((outcome.status for outcome in said), key=_ORDER.index)
    reasons = dict.fromkeys(outcome.what for outcome in said if outcome.status is worst)
    return Part(_STATES[worst], " ".join(reasons))
