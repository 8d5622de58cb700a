"""`/api/v1/events/stream`, as `/api/schema` shows it."""

from ingestion.api.schemas import FEED_FILTERS
from rest.doors.streams import KEEP_ALIVE_SECONDS, MEDIA_TYPE
from rest.openapi import EXAMPLE_ID, answer, get, parameter

_EXAMPLE = f'''id: {EXAMPLE_ID}
event: event
data: {{"id": "{EXAMPLE_ID}", "type": "invoice.paid", "data": {{"amount": 12900}}, "status": "accepted"}}

'''

STREAM = get(
    "stream_events",
    "Follow events",
    "Server-sent events, until either side closes the connection. Each has an event's `id`, `event: event` and,"
    " as `data`, the event as `GET /api/v1/events` lists it. They arrive in the order of their commits, about a"
    f" second later. There is a comment every {KEEP_ALIVE_SECONDS:.0f} seconds. A stream that was"
    " cut off resumes after `Last-Event-ID`, up to an hour back: nothing is missed, nothing repeated. It"
    " ends when its key is revoked or expires, the organization is suspended, or the server stops.",
    parameters=(
        *FEED_FILTERS,
        parameter(
            "Last-Event-ID",
            "The `id` of the last event received; without it, the stream starts now.",
            place="header",
            format="uuid",
            example=EXAMPLE_ID,
        ),
    ),
    answers=answer("The stream.", {"type": "string"}, media_type=MEDIA_TYPE, event=_EXAMPLE),
    problems=("too_many_streams",),
)
