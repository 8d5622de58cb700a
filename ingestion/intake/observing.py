"""The ASGI door's requests: counted, timed and told of, at a cost that thousands of them a second can bear.

Numbers are gathered and written once a second. With LOG_REQUESTS at `summary` the good answers of an organization
share one line a second; a flood of bad ones gets its own lines up to a bound, and then shares one too.
"""

import asyncio
import logging
import time
from bisect import bisect_left
from collections.abc import Callable

import msgspec
from django.conf import settings

from core.log_lines import level_of, log_line
from core.metrics import REQUEST_SECONDS, REQUESTS, SECONDS, WRITE_SECONDS, add_observations, write_gathered
from ingestion.metrics import QUEUED
from organizations.keys.authentication import Caller

logger = logging.getLogger("requests")
# Lines of bad answers a second and process. A tenant far over its limit gets thousands of them.
MOST_LINES = 50
# What is summed up at once; organizations beyond it share a sum.
_MOST_SUMS = 1_000


class RequestLog(msgspec.Struct, frozen=True):
    """A request that came through the door; `started` is of time.perf_counter()."""

    path: str
    request_id: str
    started: float
    caller: Caller | None


class _Sum(msgspec.Struct):
    """Of a second's requests that had the same route, answer and organization. `told`: in lines of their own."""

    path: str
    status: int
    code: str
    caller: Caller | None
    buckets: list[int]
    requests: int = 0
    told: int = 0
    bytes: int = 0
    seconds: float = 0.0
    longest: float = 0.0


class IntakeObserver:
    """Of one event loop, so it needs no lock. `queued` tells how many events wait for their commit."""

    def __init__(self, queued: Callable[[], int]) -> None:
        self._queued = queued
        # By path, status, code and the organization as a number: a UUID hashes in Python.
        self._sums: dict[tuple[str, int, str, int], _Sum] = {}
        self._lines = 0
        self._scheduled = False

    def note(self, log: RequestLog, *, status: int, code: str, size: int) -> None:
        """One answer of `size` bytes; `code` is that of a problem, or empty."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(WRITE_SECONDS, self.write)
        seconds = time.perf_counter() - log.started
        caller = log.caller
        one = self._sums.get((log.path, status, code, caller.organization_id.int if caller else 0))
        if one is None:
            one = self._new_sum(log, status, code)
        one.requests += 1
        one.bytes += size
        one.seconds += seconds
        one.buckets[bisect_left(SECONDS, seconds)] += 1
        if seconds > one.longest:  # noqa: PLR1730 - a call of max() takes longer than all else here
            one.longest = seconds
        if settings.LOG_REQUESTS != "summary" or (status >= 400 and self._lines < MOST_LINES):
            one.told += 1
            self._tell(log, status, code, size, seconds)

    def write(self) -> None:
        """What was gathered in the last second."""
        self._scheduled = False
        self._lines = 0
        sums, self._sums = self._sums, {}
        for one in sums.values():
            REQUESTS.labels(one.path, "POST", str(one.status)).inc(one.requests)
            add_observations(REQUEST_SECONDS.labels(one.path, "POST"), one.buckets, one.seconds)
            if one.requests > one.told:
                _tell_sum(one)
        QUEUED.set(self._queued())
        write_gathered()

    def _new_sum(self, log: RequestLog, status: int, code: str) -> _Sum:
        caller = log.caller if len(self._sums) < _MOST_SUMS else None
        key = (log.path, status, code, caller.organization_id.int if caller else 0)
        if key not in self._sums:
            self._sums[key] = _Sum(log.path, status, code, caller, [0] * (len(SECONDS) + 1))
        return self._sums[key]

    def _tell(self, log: RequestLog, status: int, code: str, size: int, seconds: float) -> None:
        wanted = settings.LOG_REQUESTS
        if wanted == "none" or (wanted == "errors" and status < 400):
            return
        self._lines += 1
        log_line(
            logger,
            "request",
            level=level_of(status),
            **_fields(log.path, status, code, log.caller),
            **({"key_prefix": log.caller.key_prefix} if log.caller else {}),
            duration_ms=round(seconds * 1000, 2),
            request_id=log.request_id,
            bytes=size,
        )


def _tell_sum(one: _Sum) -> None:
    log_line(
        logger,
        "requests",
        level=level_of(one.status),
        **_fields(one.path, one.status, one.code, one.caller),
        requests=one.requests - one.told,
        bytes=one.bytes,
        longest_ms=round(one.longest * 1000, 2),
    )


def _fields(path: str, status: int, code: str, caller: Caller | None) -> dict[str, object]:
    fields: dict[str, object] = {"route": path, "method": "POST", "status": status}
    if code:
        fields["code"] = code
    if caller is not None:
        fields["organization_id"] = caller.organization_id
    return fields
