"""`/api/v1/inbox`: bodies and answers, as the views use them and as `/api/schema` shows them."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from delivery.models import DEFAULT_INBOX, DeliveryStatus
from ingestion.openapi import EXAMPLE_EVENT, EventFields
from rest.openapi import EXAMPLE_ID, OTHER_ID, PAGE, Answer, Listed, Operation, Parameter, json_of


class Ack(Struct, forbid_unknown_fields=True):
    """The events to acknowledge."""

    event_ids: Annotated[list[UUID], Meta(min_length=1, max_length=1000)]


class AckOutcome(Struct):
    """What became of each event id."""

    acknowledged: list[UUID]
    already_acknowledged: list[UUID]
    stale: Annotated[list[UUID], Meta(description="Held by another lease than the one given.")]
    unknown: Annotated[list[UUID], Meta(description="Not in this inbox.")]


class InboxEvent(EventFields):
    """An event in an inbox; `status` is that of its delivery."""

    status: DeliveryStatus


class InboxEventList(Listed[InboxEvent]):
    """Events of an inbox, newest first."""


INBOX = Parameter(
    name="inbox",
    description="The name of the inbox.",
    schema={"type": "string", "default": DEFAULT_INBOX},
)
STATUS = Parameter(
    name="status",
    description="Only events whose delivery has this status.",
    schema={"type": "string", "enum": DeliveryStatus.values, "default": DeliveryStatus.PENDING.value},
)

_EVENT = {**EXAMPLE_EVENT, "status": "pending"}

LIST = {
    "GET": Operation(
        id="list_inbox",
        summary="List the events of an inbox",
        description="Looks without taking: the events stay as they are.",
        parameters=(INBOX, STATUS, *PAGE),
        answers={
            200: Answer(
                description="A page of events.",
                content=json_of(InboxEventList, page={"data": [_EVENT], "next_cursor": None}),
            )
        },
        problems=("not_found",),
    )
}
ACK = {
    "POST": Operation(
        id="ack_events",
        summary="Acknowledge events",
        description="Acknowledged events leave the pending ones. Saying it again changes nothing.",
        parameters=(INBOX,),
        body=json_of(Ack, two_events={"event_ids": [EXAMPLE_ID, OTHER_ID]}),
        answers={
            200: Answer(
                description="What became of each event id.",
                content=json_of(
                    AckOutcome,
                    one_known={
                        "acknowledged": [EXAMPLE_ID],
                        "already_acknowledged": [],
                        "stale": [],
                        "unknown": [OTHER_ID],
                    },
                ),
            )
        },
        problems=("not_found",),
    )
}
