"""`/api/v1/events`: the list and one event with what became of them, as `/api/schema` shows it."""

from typing import Annotated

from msgspec import Meta, Struct

from delivery.api.delivery_schemas import EXAMPLE_DELIVERY, DeliveryDetails
from delivery.models import DeliveryStatus
from ingestion.api import schemas
from ingestion.api.schemas import EVENT_FILTERS, EXAMPLE_EVENT, EventShown
from rest.openapi import PAGE, Listed, answer, get, page_of, parameter

_Number = Annotated[int, Meta(ge=0)]


class DeliveryCounts(Struct):
    """How many of an event's deliveries have each status."""

    delivered: _Number
    pending: _Number
    retrying: _Number
    held: _Number
    dead_letter: _Number


class EventListed(EventShown):
    """An event, in a list or in the feed."""

    deliveries: DeliveryCounts


class EventList(Listed[EventListed]):
    """Events, newest first."""


class EventDetails(EventShown):
    """An event with its deliveries."""

    deliveries: Annotated[
        list[DeliveryDetails],
        Meta(description="The first 100. Of each attempt's response the first 500 characters."),
    ]
    delivery_counts: Annotated[DeliveryCounts, Meta(description="Of all its deliveries, as in the list.")]


_COUNTS = {"delivered": 1, "pending": 0, "retrying": 0, "held": 0, "dead_letter": 0}
_FILTERS = (
    parameter("delivery_status", "Only events that have a delivery with this status.", enum=DeliveryStatus.values),
    parameter(
        "subscription",
        "Only events that have a delivery to this subscription; together with `delivery_status`, one with that status.",
        format="uuid",
    ),
)

EVENTS = schemas.EVENTS | get(
    "list_events",
    "List events",
    parameters=(*_FILTERS, *EVENT_FILTERS, *PAGE),
    answers=page_of(EventList, "events", {**EXAMPLE_EVENT, "deliveries": _COUNTS}),
    problems=("not_found",),
)
EVENT = get(
    "get_event",
    "Show an event",
    answers=answer(
        "The event.",
        EventDetails,
        event={**EXAMPLE_EVENT, "deliveries": [EXAMPLE_DELIVERY], "delivery_counts": _COUNTS},
    ),
)
