"""What became of an event, in a word or two: its face wherever it is listed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from delivery.api.event_deliveries import count_deliveries
from delivery.models import DeliveryStatus
from ingestion.models import Event, EventStatus

# The first that an event has is its outcome: what needs somebody comes before what takes care of itself.
WORDS = {
    DeliveryStatus.DEAD_LETTER: "Dead letter",
    DeliveryStatus.HELD: "Held",
    DeliveryStatus.RETRYING: "Retrying",
    DeliveryStatus.PENDING: "Pending",
    DeliveryStatus.DELIVERED: "Delivered",
}
# Of events that are not on their way to anybody.
UNPROCESSED_WORDS = {
    EventStatus.ACCEPTED: "Accepted",
    EventStatus.FAILED: "Failed",
    EventStatus.SCHEDULED: "Scheduled",
    EventStatus.CANCELLED: "Cancelled",
}
_NOBODY = "No subscriber"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`text` is for people, `look` for the style sheet; `is_open` until nothing more will happen by itself."""

    text: str
    look: str
    is_open: bool = False


@dataclass(frozen=True, kw_only=True)
class ListedEvent:
    event: Event
    outcome: Outcome


def with_outcomes(events: Sequence[Event]) -> list[ListedEvent]:
    """Events of a query with_status(), by two queries more, however many they are."""
    counts = count_deliveries([event.pk for event in events])
    return [ListedEvent(event=event, outcome=outcome_of(event.status, counts[event.pk])) for event in events]


def outcome_of(status: str, counts: Mapping[str, int]) -> Outcome:
    """By the event's own status and how many of its deliveries have each: `Retrying 1 of 3`."""
    total = sum(counts.values())
    for delivery_status, word in WORDS.items():
        if number := counts[delivery_status]:
            text = word if number == total else f"{word} {number} of {total}"
            is_open = delivery_status not in {DeliveryStatus.DEAD_LETTER, DeliveryStatus.DELIVERED}
            return Outcome(text=text, look=delivery_status.value, is_open=is_open)
    if status == EventStatus.PROCESSED:
        return Outcome(text=_NOBODY, look="nobody")
    is_open = status in {EventStatus.ACCEPTED, EventStatus.SCHEDULED}
    return Outcome(text=UNPROCESSED_WORDS[EventStatus(status)], look=status, is_open=is_open)
