"""Can this web server take an event now? Redis, broker and workers are not asked: none of them is needed for that."""

import logging
import time

from ingestion.intake.readiness import find_commit_fault, find_look_up_fault, has_just_committed
from installation.health.looks import Look, Silence

logger = logging.getLogger(__name__)
# What is asked takes some milliseconds. The whole answer shall be there within two seconds.
ANSWER_SECONDS = 1.5
OK = "ok"

_intake = Look(find_commit_fault)
_postgresql = Look(find_look_up_fault)
_failed_before: list[str] = []


def look_at_intake() -> dict[str, str]:
    """`intake` (an event can be committed) and `postgresql` (keys can be looked up): `ok`, or why not."""
    until = time.monotonic() + ANSWER_SECONDS
    is_proved = has_just_committed()
    if not is_proved:
        _intake.begin()
    _postgresql.begin()
    parts = {
        "intake": OK if is_proved else _reason(_intake.said(until), "No event can be committed"),
        "postgresql": _reason(_postgresql.said(until), "No API key can be looked up"),
    }
    _tell([f"{name}: {reason}" for name, reason in parts.items() if reason != OK])
    return parts


def forget_readiness() -> None:
    """Ask anew next time; for tests."""
    _intake.forget()
    _postgresql.forget()


def _reason(said: str | Silence, what: str) -> str:
    if isinstance(said, Silence):
        return f"{what}: PostgreSQL has not answered for {said.seconds:.1f} s."
    return f"{what}: {said}." if said else OK


def _tell(failing: list[str]) -> None:
    """In the log, when it changes."""
    global _failed_before  # noqa: PLW0603 - the process has one
    if bool(failing) != bool(_failed_before):
        if failing:
            logger.warning("not ready: %s", " ".join(failing))
        else:
            logger.warning("ready again")
    _failed_before = failing
