"""`/api/v1/events/stream`, as `/api/schema` shows it."""

from ingestion.api.schemas import FEED_FILTERS
from rest.doors.streams import KEEP_ALIVE_SECONDS, MEDIA_TYPE
from rest.openapi import EXAMPLE_ID, Answer, Content, Operation, Parameter

_EXAMPLE = f'''id: {EXAMPLE_ID}
event: event
data: {{"id": "{EXAMPLE_ID}", "type": "invoice.paid", "data": {{"amount": 12900}}, "status": "accepted"}}

'''

STREAM = {
    "GET": Operation(
        id="stream_events",
        summary="Follow events",
        description=(
            "Server-sent events, until either side closes the connection. Each has an event's `id`, `event: event` and,"
            " as `data`, the event as `GET /api/v1/events` lists it. They arrive in the order of their commits, about a"
            f" second later. There is a comment every {KEEP_ALIVE_SECONDS:.0f} seconds. A stream that was"
            " cut off resumes after `Last-Event-ID`, up to an hour back: nothing is missed, nothing repeated. It"
            " ends when its key is revoked or expires, the organization is suspended, or the server stops."
        ),
        parameters=(
            *FEED_FILTERS,
            Parameter(
                name="Last-Event-ID",
                description="The `id` of the last event received; without it, the stream starts now.",
                schema={"type": "string", "format": "uuid"},
                place="header",
                example=EXAMPLE_ID,
            ),
        ),
        answers={
            200: Answer(
                description="The stream.",
                content={MEDIA_TYPE: Content(kind={"type": "string"}, examples={"event": _EXAMPLE})},
            )
        },
        problems=("validation_failed", "too_many_streams"),
    )
}
