"""Lines of the log for attempts: each has one, until there are so many that they share."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from delivery.attempt_errors import AttemptError
from delivery.webhooks import attempt_log
from delivery.webhooks.attempt_log import MOST_LINES, AttemptLog
from delivery.webhooks.claiming import Claimed
from delivery.webhooks.recording import AttemptOutcome
from delivery.webhooks.sending import AttemptResult

OWNER, SUBSCRIPTION = uuid4(), uuid4()


def outcome(*, error: AttemptError | None = None, duration_ms: int = 5) -> AttemptOutcome:
    claimed = Claimed(
        id=uuid4(), lease_id=uuid4(), organization_id=OWNER, subscription_id=SUBSCRIPTION, event_id=uuid4(),
        attempts=0, claimed_at=datetime.now(UTC), type="a", received_at=datetime.now(UTC), traceparent=None,
        tracestate=None, kind="webhook", url="https://example.com", headers={}, secret="", previous_secret="",
        timeout_seconds=None, retry_schedule=None, auth=None, retry_id=None, attributes=None, data="1",
    )  # fmt: skip
    result = AttemptResult(
        error=error, status=204, detail="", duration_ms=duration_ms, response_text="", response_truncated=False,
        retry_after=None, remote_address=None,
    )  # fmt: skip
    return AttemptOutcome(claimed=claimed, started_at=datetime.now(UTC), result=result)


def lines_of(caplog: pytest.LogCaptureFixture, outcomes: Sequence[AttemptOutcome]) -> list[tuple[str, dict[str, Any]]]:
    """Message and fields of what is logged of them, within a second and at its end."""

    async def note() -> None:
        log = AttemptLog()
        log.note(outcomes)
        log.write()

    with caplog.at_level(logging.INFO, logger="attempts"):
        asyncio.run(note())
    return [(record.message, record.fields) for record in caplog.records if record.name == "attempts"]  # type: ignore[attr-defined]


def test_a_few_attempts_have_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    lines = lines_of(caplog, [outcome() for _ in range(MOST_LINES)])
    assert [message for message, _ in lines] == ["attempt"] * MOST_LINES
    assert all("delivery_id" in fields for _, fields in lines)


def test_beyond_a_bound_they_share_one_by_subscription_and_outcome(caplog: pytest.LogCaptureFixture) -> None:
    many = [outcome() for _ in range(MOST_LINES + 7)]
    failed = [outcome(error=AttemptError.HTTP_ERROR, duration_ms=number) for number in range(MOST_LINES + 3)]
    lines = lines_of(caplog, many + failed)
    assert [message for message, _ in lines].count("attempt") == 2 * MOST_LINES
    assert [fields for message, fields in lines if message == "attempts"] == [
        {"outcome": "delivered", "attempts": 7, "longest_ms": 5,
         "organization_id": OWNER, "subscription_id": SUBSCRIPTION},
        {"outcome": "http_error", "attempts": 3, "longest_ms": MOST_LINES + 2,
         "organization_id": OWNER, "subscription_id": SUBSCRIPTION},
    ]  # fmt: skip


@pytest.mark.parametrize(("wanted", "count"), [("all", 2 * MOST_LINES + 2), ("errors", MOST_LINES + 1), ("none", 0)])
def test_what_is_told_can_be_chosen(caplog: pytest.LogCaptureFixture, settings: Any, wanted: str, count: int) -> None:
    settings.LOG_ATTEMPTS = wanted
    failed = [outcome(error=AttemptError.HTTP_ERROR) for _ in range(MOST_LINES + 1)]
    lines = lines_of(caplog, [outcome() for _ in range(MOST_LINES + 1)] + failed)
    assert [message for message, _ in lines] == ["attempt"] * count


def test_many_subscriptions_cost_bounded_memory(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_log, "_MOST_SUMS", 1)
    others = [outcome(), outcome(error=AttemptError.TIMEOUT)]
    lines = lines_of(caplog, [outcome(error=one) for one in [None, AttemptError.TIMEOUT] for _ in range(50)] + others)
    assert [message for message, _ in lines].count("attempts") == 1
