"""The Python client asks for what `/api/schema` offers and understands what it shows, so that the two cannot drift."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from events_client.calls import Call, endpoint, listing
from events_client.resources.events import Events
from events_client.resources.inboxes import Inbox
from events_client.resources.others import Deliveries, EventTypes, Jobs, Organizations, PortalLinks, Replays
from events_client.resources.subscriptions import Subscriptions

from rest.openapi import EXAMPLE_ID, EXAMPLE_TIME
from rest.openapi.document import build_document

_RESOURCES = (Events, Inbox, Subscriptions, Deliveries, EventTypes, Replays, Jobs, PortalLinks, Organizations)
# A value for each parameter of the client's methods; all that end in `_id` are ids.
_VALUES: dict[str, Any] = {
    "type": "invoice.paid",
    "data": {"amount": 1},
    "time": EXAMPLE_TIME,
    "deliver_at": EXAMPLE_TIME,
    "received_after": EXAMPLE_TIME,
    "received_before": EXAMPLE_TIME,
    "events": [b'{"type":"t","data":1}'],
    "event_ids": [EXAMPLE_ID],
    "event_types": ["invoice.*"],
    "filter": {"data.amount": {"gte": 1}},
    "headers": {"X-Of": "mine"},
    "members": {"description": "d"},
    "subscription": EXAMPLE_ID,
    "max": 1,
    "url": "https://example.com",
}


def _calls() -> Iterator[tuple[str, Call[Any]]]:
    for resource in _RESOURCES:
        maker: Any = resource(None, "default") if resource is Inbox else resource(None)  # type: ignore[call-arg]
        for name, method in vars(resource).items():
            if isinstance(method, endpoint | listing):
                yield f"{resource.__name__}.{name}", method.describe(maker, **_arguments(method.describe))


def _arguments(describe: Any) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(describe).parameters.items())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            given |= _VALUES["members"]
        elif parameter.default is inspect.Parameter.empty or parameter.default is None:
            given[name] = _VALUES.get(
                name, 1 if name == "max_leases" else EXAMPLE_ID if name.endswith("_id") else "text"
            )
    return given


CALLS = dict(_calls())


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build_document()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_an_operation_of_the_schema(name: str, document: dict[str, Any]) -> None:
    call = CALLS[name]
    operation = _operation(call, document)
    parameters = [_resolved(each, document) for each in operation.get("parameters", [])]
    offered = {each["name"] for each in parameters if each["in"] == "query"}
    assert call.query.keys() <= offered
    if call.body is not None:
        _check_body(msgspec.json.decode(call.body), operation, document)
    examples = list(_examples(operation))
    assert call.answer is type(None) or examples
    for example in examples:
        msgspec.json.decode(msgspec.json.encode(example), type=call.answer)


def _operation(call: Call[Any], document: dict[str, Any]) -> dict[str, Any]:
    found = [
        (path, methods[call.method.lower()])
        for path, methods in document["paths"].items()
        if call.method.lower() in methods and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), call.path)
    ]
    # /events/batch is one of /events/{event_id} as well.
    path, operation = min(found, key=lambda each: each[0].count("{"))
    assert isinstance(operation, dict), path
    return operation


def _resolved(shown: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in shown:
        return shown
    found: Any = document
    for name in shown["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return dict(found)


def _check_body(body: Any, operation: dict[str, Any], document: dict[str, Any]) -> None:
    if isinstance(body, list):
        return
    schemas = list(_objects(operation["requestBody"]["content"]["application/json"]["schema"], document))
    fitting = [each for each in schemas if {*each.get("required", [])} <= {*body}]
    known = {member for each in fitting for member in each["properties"]}
    assert fitting
    assert body.keys() <= known


def _objects(schema: dict[str, Any], document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    schema = _resolved(schema, document)
    for each in [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
        yield from _objects(each, document)
    if "properties" in schema:
        yield schema


def _examples(operation: dict[str, Any]) -> Iterator[Any]:
    for status, answer in operation["responses"].items():
        content = answer.get("content", {}).get("application/json", {})
        if status.startswith("2"):
            yield from (example["value"] for example in content.get("examples", {}).values())
