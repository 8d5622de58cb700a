"""Every format in which events come in: headers and body of a request → events. Pure.

| content type | one event | a batch |
|---|---|---|
| `application/json` | an object | an array, or `{"events": […]}` |
| `application/x-ndjson`, `application/ndjson`, `application/jsonl` | – | one event a line |
| `application/cloudevents+json` | CloudEvents, structured mode | – |
| any, with the header `ce-specversion` | CloudEvents, binary mode | – |
| `application/cloudevents-batch+json` | – | CloudEvents, batched mode |

Header names are in lower case. Bodies come without their content encoding: `rest.bodies.unpack` took it off.
"""

from collections.abc import Mapping

from core.field_errors import cut
from core.problems import Problem, invalid
from ingestion.formats.batches import (
    MAX_BATCH_BODY_BYTES,
    MAX_BATCH_EVENTS,
    Results,
    Steps,
    decode_array,
    decode_json_batch,
    decode_lines,
)
from ingestion.formats.cloudevents import decode_binary, decode_structured
from ingestion.formats.decoding import MAX_BODY_BYTES, DecodedEvent, decode_event
from rest.bodies import content_type, require_utf8

__all__ = [
    "MAX_BATCH_BODY_BYTES",
    "MAX_BATCH_EVENTS",
    "MAX_SINGLE_BODY_BYTES",
    "batch_steps",
    "decode_batch",
    "decode_single",
    "is_batch",
]

MAX_SINGLE_BODY_BYTES = MAX_BODY_BYTES

_JSON = "application/json"
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_STRUCTURED = "application/cloudevents+json"
_CLOUDEVENTS_BATCH = "application/cloudevents-batch+json"


def is_batch(headers: Mapping[str, str]) -> bool:
    """Whether the content type is that of a batch wherever it is sent to: CloudEvents' batched mode."""
    value = headers.get("content-type")
    return value != _JSON and content_type(headers)[0] == _CLOUDEVENTS_BATCH


def decode_single(headers: Mapping[str, str], body: bytes) -> DecodedEvent:
    """The one event of a request. Raises Problem 400, 413, 415 or 422.

    In the native format the header Idempotency-Key is the event's key, as the member `idempotency_key` is; both at
    once must agree. A CloudEvent's key is its source and id, whatever that header says.
    """
    if len(body) > MAX_SINGLE_BODY_BYTES:
        raise Problem("payload_too_large", f"The body is over {MAX_SINGLE_BODY_BYTES} bytes.")
    if headers.get("content-type") == _JSON and "ce-specversion" not in headers:
        return decode_event(body, header_key=headers.get("idempotency-key"))
    main, charset = content_type(headers)
    if main == _STRUCTURED:
        require_utf8(charset)
        return decode_structured(body)
    # The content type goes before the headers (HTTP Protocol Binding, 1.3 and 3).
    if "ce-specversion" in headers and not main.startswith("application/cloudevents"):
        return decode_binary(headers, body)
    if main == _JSON:
        require_utf8(charset)
        return decode_event(body, header_key=headers.get("idempotency-key"))
    raise _unsupported(main, f"{_JSON} or {_STRUCTURED}, or the headers of CloudEvents' binary mode")


def decode_batch(headers: Mapping[str, str], body: bytes) -> Results:
    """The same as `batch_steps`, at once."""
    steps = batch_steps(headers, body)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            results: Results = finished.value
            return results


def batch_steps(headers: Mapping[str, str], body: bytes) -> Steps:
    """The events of a batch in their order, or the Problem of one in its place, with pointers into that event.

    They are the value of the generator, which stops between its steps so that others have their turn. Raises Problem
    400, 413, 415 or 422 if the batch as a whole is bad: malformed, too large, empty, with members beside `events`, or
    with a header Idempotency-Key, since each event has its own key.
    """
    if "idempotency-key" in headers:
        detail = "A batch takes no header Idempotency-Key: each event carries its own idempotency_key."
        raise invalid("/idempotency_key", "contradiction", detail)
    main, charset = content_type(headers)
    if main not in {_JSON, _CLOUDEVENTS_BATCH, *_LINES}:
        raise _unsupported(main, f"{_JSON}, {_LINES[0]} or {_CLOUDEVENTS_BATCH}")
    require_utf8(charset)
    if len(body) > MAX_BATCH_BODY_BYTES:
        raise Problem("payload_too_large", f"The body is over {MAX_BATCH_BODY_BYTES} bytes.")
    if main == _JSON:
        return decode_json_batch(body)
    return decode_array(body, decode_structured) if main == _CLOUDEVENTS_BATCH else decode_lines(body)


def _unsupported(main: str, wanted: str) -> Problem:
    return Problem("unsupported_media_type", f"Send {wanted}, not {cut(main) or 'nothing'}.")
