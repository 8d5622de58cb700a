"""From the processes' numbers to Prometheus' text, and who may read it."""

import hmac
from collections.abc import Iterable
from ipaddress import ip_address

from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from core.metrics import write_gathered
from observability.metrics.folder import add_up_ended, reading

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Any of them says that somebody else than the peer asks; a proxy on this host would make all the world loopback.
FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "Via")


class ProcessesCollector(Collector):
    """The numbers of all processes that share the folder; without one, of this process alone."""

    def collect(self) -> Iterable[Metric]:
        write_gathered()
        add_up_ended()
        with reading() as path:
            if path is None:
                return list(REGISTRY.collect())
            # A file that a starting process has just made is still empty.
            files = [str(file) for file in path.glob("*.db") if file.stat().st_size]
            return list(MultiProcessCollector.merge(files))


def exposition(*collectors: Collector) -> bytes:
    """Prometheus' text format of what the collectors give."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)


def may_read(*, authorization: str, address: str, forwarded: bool) -> bool:
    """With the token; without an Authorization, also from loopback, unless a proxy stands between."""
    if authorization:
        scheme, _, token = authorization.partition(" ")
        expected = settings.METRICS_TOKEN
        same = hmac.compare_digest(token.strip().encode(), expected.encode())
        return scheme.lower() == "bearer" and bool(expected) and same
    return not forwarded and _is_loopback(address)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:  # a Unix socket has none
        return False
