"""The fields of an event besides its data, each declared once: what stores, shows, filters, exports and erases them
reads it here. Pure.

What is decoded has types of its own (ingestion.formats.decoding); a test holds them to this table.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import Struct

from core.times import format_time

# Characters of a source and of a subject: object names and URLs are long.
MAX_REFERENCE = 1024


class EventField(NamedTuple):
    """A column of events, and the member of their JSON, both of this name. All but the type may be null.

    `text` reads the value from an event as PostgreSQL takes it, `show` as the API shows it. `is_erasable`: it may tell
    of a person, so that it can be searched for and emptied.
    """

    name: str
    sql_type: str
    text: Callable[[Any], str | None]
    show: Callable[[Any], Any]
    is_erasable: bool = True


def _text_field(name: str, *, is_erasable: bool = True) -> EventField:
    read = attrgetter(name)
    return EventField(name, "text", read, read, is_erasable)


# In this order wherever they are listed. Events with one idempotency key agree in all of them.
CONTENT = (
    _text_field("type", is_erasable=False),
    _text_field("source"),
    _text_field("subject"),
    EventField(
        "time",
        "timestamptz",
        lambda event: event.time.isoformat() if event.time else None,
        lambda event: format_time(event.time) if event.time else None,
        is_erasable=False,
    ),
)
KEY = _text_field("idempotency_key")
FIELDS = (*CONTENT, KEY)
CONTENT_NAMES = tuple(field.name for field in CONTENT)


class MatchedFields(Struct, frozen=True):
    """Those that filters of subscriptions look at by their names."""

    type: str
    source: str | None
    subject: str | None
