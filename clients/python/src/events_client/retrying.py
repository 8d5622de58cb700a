"""When a request is made again, and after how long. It knows nothing of how requests are made."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

# Nothing was done: the platform says so with 429 and 503, and proxies with the others while it starts anew.
RETRIED_STATUSES = frozenset({429, 502, 503, 504})
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0


class Retrying:
    """The attempts of one request: how many there were, and until when there may be more.

    `seconds` is the time for all of them together, from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._failures = 0

    def pause(self, retry_after: float | None = None) -> float | None:
        """How long to wait before the next attempt, in seconds; None when the time would be over by then.

        Never shorter than `retry_after`, and with jitter, so that many clients do not come back at the same moment.
        """
        pause = min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311
        if retry_after is not None:
            pause = retry_after + min(pause, max(0.1, retry_after / 5))
        self._failures += 1
        return pause if time.monotonic() + pause < self._ends else None


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds, which may be a number or a date; None where there is none that can be read."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
