"""What Schemathesis cannot know: how lines of JSON are sent, and which requests say nothing about the document."""

import os
from typing import Any

import schemathesis

_BINARY_MODE = {"ce-specversion", "ce-id", "ce-source", "ce-type"}


@schemathesis.serializer("application/x-ndjson")
def ndjson(context: schemathesis.SerializationContext, value: Any) -> bytes:
    """The document shows the lines as a string already."""
    return str(value).encode(errors="surrogatepass")


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Leaves out what revokes or rotates its own API key, what waits, and wrong bodies that are rightly taken."""
    if case.method != "GET" and case.path_parameters.get("key_id") == os.environ["EVENTS_API_KEY_ID"]:
        return False
    return not (_is_wrong(case) and _may_be_taken(case)) and not _waits(case)


def _waits(case: schemathesis.Case[Any]) -> bool:
    """For up to 20 s, for an event that nobody sends."""
    return isinstance(case.body, dict) and bool(case.body.get("wait_seconds"))


def _is_wrong(case: schemathesis.Case[Any]) -> bool:
    return case.meta is not None and case.meta.generation.mode is schemathesis.GenerationMode.NEGATIVE


def _may_be_taken(case: schemathesis.Case[Any]) -> bool:
    """In CloudEvents' binary mode any body is data."""
    in_binary_mode = {name.lower() for name in case.headers or {}} >= _BINARY_MODE
    return in_binary_mode and case.operation.definition.raw["operationId"] == "send_event"
