"""`/api/v1/events`: the list and one event with what became of them, as `/api/schema` shows it."""

from dataclasses import replace
from typing import Annotated

from msgspec import Meta, Struct

from delivery.api.delivery_schemas import EXAMPLE_DELIVERY, DeliveryDetails
from delivery.models import DeliveryStatus
from ingestion.api import schemas
from ingestion.api.schemas import EXAMPLE_EVENT, EventShown
from rest.openapi import Answer, Listed, Operation, Parameter, json_of

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
    Parameter(
        name="delivery_status",
        description="Only events that have a delivery with this status.",
        schema={"type": "string", "enum": DeliveryStatus.values},
    ),
    Parameter(
        name="subscription",
        description="Only events that have a delivery to this subscription; together with `delivery_status`, one with"
        " that status.",
        schema={"type": "string", "format": "uuid"},
    ),
)
_LIST = schemas.EVENTS["GET"]
_PAGE = {"data": [{**EXAMPLE_EVENT, "deliveries": _COUNTS}], "next_cursor": None}

EVENTS = {
    **schemas.EVENTS,
    "GET": replace(
        _LIST,
        parameters=(*_FILTERS, *_LIST.parameters),
        answers={200: Answer(description="A page of events.", content=json_of(EventList, page=_PAGE))},
        problems=("not_found",),
    ),
}
EVENT = {
    "GET": Operation(
        id="get_event",
        summary="Show an event",
        answers={
            200: Answer(
                description="The event.",
                content=json_of(
                    EventDetails,
                    event={**EXAMPLE_EVENT, "deliveries": [EXAMPLE_DELIVERY], "delivery_counts": _COUNTS},
                ),
            )
        },
    )
}
