"""By what a subscription puts its deliveries in order, and the key of an event. Pure."""

import hashlib
import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from core.problems import Problem, invalid
from delivery.matching.event_view import ATTRIBUTES, MISSING, EventView, compile_path

logger = logging.getLogger(__name__)


class Order(NamedTuple):
    """What an order is by. `needs_data`: by something in the data of events."""

    path: str
    read: Callable[[EventView], Any]
    needs_data: bool

    def key_of(self, event: EventView) -> UUID | None:
        """The hash of the event's key; None for an event that has none, as the value is missing or null.

        By another path the same value is another key, so that the queues of two orders never mix.
        """
        value = self.read(event)
        if value is MISSING or value is None:
            return None
        text = msgspec.json.encode(_as_equal(value), order="sorted")
        return UUID(bytes=hashlib.blake2b(self.path.encode() + b"\0" + text, digest_size=16).digest())


@lru_cache(maxsize=1_000)
def compile_order(path: str) -> Order:
    """Raises Problem 422 with the pointer `/order_by`."""
    is_in_data = path.startswith("data.")
    if path not in ATTRIBUTES and not is_in_data:
        raise invalid("/order_by", "unknown_field", f"An order is by {', '.join(ATTRIBUTES)} or data.<name>.")
    return Order(path, compile_path("/order_by", path), is_in_data)


def order_of(path: str | None) -> Order | None:
    """Of a subscription. One that a newer version wrote, and this one does not understand, counts as none."""
    if path is None:
        return None
    try:
        return compile_order(path)
    except Problem:
        logger.warning("an order by %s cannot be kept", path)
        return None


def _as_equal(value: Any) -> Any:
    """1 and 1.0 are one number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
