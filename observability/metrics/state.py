"""The state of the platform at the time of a scrape, remembered for a few seconds."""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from django.db import DatabaseError, InterfaceError, connection
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from core.postgresql.statement_limits import short_statements
from core.version import VERSION, revision
from observability.metrics.queries import OF_POSTGRESQL, OF_REDIS, Part

logger = logging.getLogger(__name__)
# However often somebody asks, the queries run no more often than this in one process.
CACHE_SECONDS = 5.0
STATEMENT_MILLISECONDS = 2000


class StateCollector(Collector):
    """A part that fails is missing, and said to be so by `events_scrape_errors`; the others are there."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._families: list[Metric] = []
        self._until = float("-inf")

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            if self._clock() >= self._until:
                self._families = self._read()
                self._until = self._clock() + CACHE_SECONDS
            return list(self._families)

    def _read(self) -> list[Metric]:
        build = {"version": VERSION, "revision": revision()}
        families: list[Metric] = [InfoMetricFamily("events_build", "The running version.", build)]
        errors = GaugeMetricFamily("events_scrape_errors", "1: this part could not be read.", labels=["part"])
        reachable = _postgresql_answers()
        for name, part in OF_POSTGRESQL.items():
            found = _of_postgresql(name, part) if reachable else None
            errors.add_metric([name], found is None)
            families += found or []
        for name, part in OF_REDIS.items():
            found = _outcome(name, part)
            errors.add_metric([name], found is None)
            families += found or []
        return [*families, errors]


def _postgresql_answers() -> bool:
    """Asked once, since each part would wait for a server that is away."""
    try:
        connection.ensure_connection()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("metrics of PostgreSQL are missing: %s", type(error).__name__)
        return False
    return True


def _of_postgresql(name: str, part: Part) -> list[Metric] | None:
    def limited() -> Iterable[GaugeMetricFamily]:
        with short_statements(STATEMENT_MILLISECONDS):
            return list(part())

    return _outcome(name, limited)


def _outcome(name: str, part: Part) -> list[Metric] | None:
    try:
        return list(part())
    except Exception as error:  # noqa: BLE001 - whatever it is, the other parts shall be seen
        logger.warning("metrics of %s are missing: %s", name, type(error).__name__)
        return None
