"""`/api/v1/events/{id}`: the event with what became of it, as `/api/schema` shows it."""

from typing import Annotated

from msgspec import Meta

from delivery.api.delivery_schemas import EXAMPLE_DELIVERY, DeliveryDetails
from ingestion.api.schemas import EXAMPLE_EVENT, EventShown
from rest.openapi import Answer, Operation, json_of


class EventDetails(EventShown):
    """An event with its deliveries."""

    deliveries: Annotated[
        list[DeliveryDetails],
        Meta(description="The first 100. Of each attempt's response the first 500 characters."),
    ]


EVENT = {
    "GET": Operation(
        id="get_event",
        summary="Show an event",
        answers={
            200: Answer(
                description="The event.",
                content=json_of(EventDetails, event={**EXAMPLE_EVENT, "deliveries": [EXAMPLE_DELIVERY]}),
            )
        },
    )
}
