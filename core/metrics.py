"""What the process measures of requests, and metrics that cost the hot path next to nothing.

Under several processes each write of a Prometheus metric goes to shared memory (1 to 2 µs). What happens thousands of
times a second is therefore gathered in the process first, and written about once a second: a killed process takes the
numbers of its last second along.
"""

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

WRITE_SECONDS = 1.0
# From the half millisecond of an accepted event to the patience of a client.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REQUESTS = Counter(
    "events_http_requests",
    "Requests answered, by route of the URL configuration, method and status code.",
    ["route", "method", "status"],
)
REQUEST_SECONDS = Histogram(
    "events_http_request_duration_seconds",
    "Time from a request's arrival to its answer, by route and method.",
    ["route", "method"],
    buckets=SECONDS,
)
PROCESSES = Gauge(
    "events_processes",
    "Living processes, by what they do: web, worker or beat.",
    ["role"],
    multiprocess_mode="livesum",
)
RESIDENT_BYTES = Gauge(
    "events_process_resident_memory_bytes",
    "Resident memory of the largest living process of a role.",
    ["role"],
    multiprocess_mode="livemax",
)

_lock = threading.Lock()
_gathered: "list[GatheredCounter | GatheredHistogram]" = []


@dataclass(slots=True)
class _Process:
    role: str = ""
    written_at: float = 0.0


_process = _Process()


class GatheredCounter:
    """A counter that adds up in the process until `write_gathered`."""

    __slots__ = ("_amount", "_counter")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._amount = 0.0
        with _lock:
            _gathered.append(self)

    def inc(self, amount: float = 1) -> None:
        with _lock:
            self._amount += amount

    def write(self) -> None:
        with _lock:
            amount, self._amount = self._amount, 0.0
        if amount:
            self._counter.inc(amount)


class GatheredHistogram:
    """A histogram that counts in the process until `write_gathered`. `bounds` are the buckets it was made with."""

    __slots__ = ("_bounds", "_counts", "_histogram", "_sum")

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self._histogram = histogram
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        with _lock:
            _gathered.append(self)

    def observe(self, value: float) -> None:
        place = bisect_left(self._bounds, value)
        with _lock:
            self._counts[place] += 1
            self._sum += value

    def write(self) -> None:
        with _lock:
            counts, self._counts = self._counts, [0] * len(self._counts)
            total, self._sum = self._sum, 0.0
        if any(counts):
            add_observations(self._histogram, counts, total)


def add_observations(histogram: Histogram, counts: Sequence[int], total: float) -> None:
    """Observations by bucket, and the sum of their values.

    prometheus_client has no way to add many at once; these attributes are what its `observe` writes to.
    """
    histogram._sum.inc(total)
    for bucket, count in zip(histogram._buckets, counts, strict=True):
        if count:
            bucket.inc(count)


def write_gathered() -> None:
    """Write what was gathered to the metrics; about once a second is enough."""
    _process.written_at = time.monotonic()
    with _lock:
        gathered = list(_gathered)
    for one in gathered:
        one.write()
    note_process()


def write_gathered_if_due() -> None:
    """For processes without an event loop: call it now and then."""
    if time.monotonic() - _process.written_at >= WRITE_SECONDS:
        write_gathered()


def start_process(role: str) -> None:
    """This process is one of `role` from now on: `web`, `worker` or `beat`."""
    _process.role = role
    PROCESSES.labels(role).set(1)
    note_process()


def note_process() -> None:
    """Write down how large this process is, where the system says so (Linux)."""
    if not _process.role:
        return
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return
    RESIDENT_BYTES.labels(_process.role).set(pages * os.sysconf("SC_PAGE_SIZE"))


def note_request(*, route: str, method: str, status: int, seconds: float) -> None:
    """One answered request. `route` comes from the URL configuration, or is `other`."""
    method = method if method in _METHODS else "other"
    REQUESTS.labels(route, method, str(status)).inc()
    REQUEST_SECONDS.labels(route, method).observe(seconds)
