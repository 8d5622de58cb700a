"""When a failed delivery is tried again. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# Spreads the deliveries that failed together when an endpoint went down.
MAX_JITTER = 0.2
MAX_RETRY_AFTER = timedelta(hours=24)


def next_attempt(
    *, attempts: int, now: datetime, schedule: Sequence[float], jitter: float, retry_after: timedelta | None = None
) -> datetime | None:
    """When to try again after `attempts` (1 or more) attempts; None when the schedule is used up: a dead letter.

    `schedule` holds the waits in seconds, so there is one attempt more than it has entries. `jitter` is a random
    number from 0 up to 1. What the endpoint asked for in Retry-After is a lower bound, itself bounded to a day.
    """
    if attempts > len(schedule):
        return None
    wait = timedelta(seconds=schedule[attempts - 1])
    if retry_after is not None:
        wait = max(wait, min(retry_after, MAX_RETRY_AFTER))
    return now + wait * (1 + MAX_JITTER * jitter)


def parse_retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Retry-After (RFC 9110, 10.2.3: seconds or an HTTP date), from 0 to MAX_RETRY_AFTER; None if it is not valid."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        # More than nine digits are no seconds that timedelta takes, and the bound is far below.
        return min(timedelta(seconds=int(text[:9])), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(timedelta(0), min(moment - now, MAX_RETRY_AFTER))
