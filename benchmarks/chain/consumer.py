"""A consumer of the inbox `default`, which leases and acknowledges in a thread of the benchmark."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.chain.product import Product

_EVENTS = 500
_LEASE_SECONDS = 60
# Of a consumer that found nothing.
_PAUSE_SECONDS = 0.1


class Consumer:
    """`taken`: the events that it has acknowledged, each counted as often as that was."""

    def __init__(self, product: Product) -> None:
        self.taken = 0
        self._product = product
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._consume, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _consume(self) -> None:
        while not self._ended.is_set():
            lease = self._product.call("POST", "/inbox/lease", {"max": _EVENTS, "lease_seconds": _LEASE_SECONDS})
            if ids := [event["id"] for event in lease["events"]]:
                answer = self._product.call("POST", "/inbox/ack", {"event_ids": ids, "lease_id": lease["lease_id"]})
                self.taken += len(answer["acknowledged"])
            else:
                self._ended.wait(_PAUSE_SECONDS)


@contextmanager
def consuming(product: Product) -> Iterator[Consumer]:
    """A consumer works while the block runs."""
    consumer = Consumer(product)
    consumer.start()
    try:
        yield consumer
    finally:
        consumer.stop()
