"""Lines of the log for attempts: one for each, and under load one for many.

A line costs the sender some 60 µs, a third of what an attempt does, and whoever reads the log as much again.
"""

import asyncio
import logging
from collections.abc import Iterable
from uuid import UUID

import msgspec
from django.conf import settings

from core.log_lines import log_line
from delivery.metrics import DELIVERED
from delivery.webhooks.claiming import Claimed
from delivery.webhooks.recording import AttemptOutcome
from delivery.webhooks.sending import AttemptResult

logger = logging.getLogger("attempts")
# Lines of their own in a second. Those that failed have as many again.
MOST_LINES = 50
SUM_SECONDS = 1.0
# What is summed up at once; subscriptions beyond it have no line.
_MOST_SUMS = 1_000


class _Sum(msgspec.Struct):
    """Of a second's attempts of a subscription that ended alike."""

    organization_id: UUID
    attempts: int = 0
    longest_ms: int = 0


class AttemptLog:
    """Of one event loop. `note` is called with attempts as they are recorded; nothing of it is a tenant's text."""

    def __init__(self) -> None:
        self._sums: dict[tuple[UUID, str], _Sum] = {}
        self._lines = {True: 0, False: 0}
        self._is_due = False

    def note(self, outcomes: Iterable[AttemptOutcome]) -> None:
        wanted = settings.LOG_ATTEMPTS
        if wanted == "none":
            return
        for outcome in outcomes:
            result = outcome.result
            if result is None or (wanted == "errors" and result.delivered):
                continue
            self._lines[result.delivered] += 1
            if wanted == "summary" and self._lines[result.delivered] > MOST_LINES:
                self._add(outcome.claimed, result)
            else:
                _tell(outcome.claimed, result)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(SUM_SECONDS, self.write)

    def write(self) -> None:
        """What was summed up in the last second."""
        self._is_due = False
        self._lines = {True: 0, False: 0}
        sums, self._sums = self._sums, {}
        for (subscription_id, ending), one in sums.items():
            log_line(
                logger,
                "attempts",
                outcome=ending,
                attempts=one.attempts,
                longest_ms=one.longest_ms,
                organization_id=one.organization_id,
                subscription_id=subscription_id,
            )

    def _add(self, claimed: Claimed, result: AttemptResult) -> None:
        key = claimed.subscription_id, _ending(result)
        one = self._sums.get(key)
        if one is None:
            if len(self._sums) >= _MOST_SUMS:
                return
            one = self._sums[key] = _Sum(claimed.organization_id)
        one.attempts += 1
        one.longest_ms = max(one.longest_ms, result.duration_ms)


def _tell(claimed: Claimed, result: AttemptResult) -> None:
    log_line(
        logger,
        "attempt",
        outcome=_ending(result),
        status=result.status,
        duration_ms=result.duration_ms,
        attempt=claimed.number,
        organization_id=claimed.organization_id,
        subscription_id=claimed.subscription_id,
        delivery_id=claimed.id,
        event_id=claimed.event_id,
    )


def _ending(result: AttemptResult) -> str:
    return result.error.value if result.error else DELIVERED
