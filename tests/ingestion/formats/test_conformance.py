"""The data of public conformance suites, which are not part of this repository: .ci/run fetches them.

`CONFORMANCE_DIR` is a folder with a checkout of each.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from ingestion.formats.decoding import DecodedEvent
from ingestion.formats.dispatch import decode_single
from ingestion.schemas.compiling import compile_schema
from ingestion.schemas.parts import SchemaError

_SUITES = Path(os.environ.get("CONFORMANCE_DIR", "conformance-suites-are-not-here"))
CLOUDEVENTS = _SUITES / "cloudevents-conformance"
JSON_SCHEMA = _SUITES / "JSON-Schema-Test-Suite"
# What a schema cannot have here: another document, or a dialect of its own.
NOT_TAKEN = {"remote_reference", "unsupported_dialect"}


def suite(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"CONFORMANCE_DIR has no {folder.name}")
    return folder


def attributes_of(event: DecodedEvent) -> dict[str, Any]:
    """Those of the specification and extensions, by their CloudEvents names."""
    assert event.annotations is not None
    kept = json.loads(event.annotations)["attributes"]
    own = {"type": event.type, "source": event.source, "subject": event.subject, "time": event.time}
    return {name: value for name, value in (own | kept).items() if value is not None}


# --- CloudEvents: events in YAML ---------------------------------------------------------------------------------


def cloudevents() -> Iterator[tuple[dict[str, Any], str]]:
    """Attributes and data of each event of version 1.0."""
    for path in sorted(suite(CLOUDEVENTS).glob("yaml/**/v1*.yaml")):
        # What is written without quotes there, such as the version, is a string nevertheless.
        for event in yaml.load_all(path.read_text(), Loader=yaml.BaseLoader):
            attributes = event["ContextAttributes"]
            yield attributes | attributes.pop("Extensions", {}), event["Data"]


def as_binary(attributes: dict[str, Any], data: str) -> DecodedEvent:
    headers = {f"ce-{name}": quote(value, safe="") for name, value in attributes.items() if name != "datacontenttype"}
    media_type = attributes.get("datacontenttype")
    return decode_single(headers | ({"content-type": media_type} if media_type else {}), data.encode())


def as_structured(attributes: dict[str, Any], data: str) -> DecodedEvent:
    is_json = "json" in attributes.get("datacontenttype", "json")
    body = json.dumps(attributes)[:-1] + f', "data": {data if is_json else json.dumps(data)}}}'
    return decode_single({"content-type": "application/cloudevents+json"}, body.encode())


def test_every_event_is_the_same_in_both_modes() -> None:
    count = 0
    for attributes, data in cloudevents():
        binary, structured = as_binary(attributes, data), as_structured(attributes, data)
        assert json.loads(binary.data) == json.loads(structured.data)
        wanted = {name: value for name, value in attributes.items() if "json" not in value or name != "datacontenttype"}
        for event in (binary, structured):
            found = attributes_of(event)
            if "time" in found:
                found["time"] = f"{found['time']:%Y-%m-%dT%H:%M:%SZ}"
            assert found == wanted
        count += 1
    assert count >= 8


# --- CloudEvents: the HTTP binding in Gherkin --------------------------------------------------------------------


def scenarios() -> Iterator[tuple[str, dict[str, str], str]]:
    """The request, the attributes and the data of each example."""
    text = (suite(CLOUDEVENTS) / "features" / "http-protocol-binding.feature").read_text()
    for scenario in text.split("Scenario Outline:")[1:]:
        request, data = re.findall(r'"""\n(.*?)"""', scenario, re.DOTALL)
        table, examples = scenario.split("Then the attributes are:")[1].split("Examples:")
        for (content_type,) in cells(examples)[1:]:
            rows = [[cell.replace("<contentType>", content_type) for cell in row] for row in cells(table)[1:]]
            yield request.replace("<contentType>", content_type), dict(rows), data


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "|" in line]


def test_every_example_of_the_http_binding_is_understood() -> None:
    count = 0
    for request, wanted, data in scenarios():
        head, _, body = request.partition("\n\n")
        lines = [line.strip().partition(": ") for line in head.splitlines()[1:]]
        event = decode_single({name.lower(): value for name, _, value in lines}, body.encode())
        # The default is not kept, whatever its charset.
        assert wanted.pop("datacontenttype").startswith("application/json")
        assert attributes_of(event) == {**wanted, "time": event.time}
        assert event.time is not None
        assert f"{event.time:%Y-%m-%dT%H:%M:%SZ}" == wanted["time"]
        assert json.loads(event.data) == json.loads(data)
        count += 1
    assert count >= 4


# --- JSON Schema -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "asserts", "least"),
    [("*.json", False, 1_200), ("optional/*.json", False, 100), ("optional/format/*.json", True, 700)],
)
def test_schemas_say_what_the_suite_says(pattern: str, asserts: bool, least: int) -> None:
    count, wrong, refused = 0, [], set()
    for path in sorted((suite(JSON_SCHEMA) / "tests" / "draft2020-12").glob(pattern)):
        for group in json.loads(path.read_text()):
            try:
                schema = compile_schema(json.dumps(group["schema"]), to_be_saved=True, asserts_format=asserts)
            except SchemaError as error:
                refused.add(error.code)
                continue
            for test in group["tests"]:
                count += 1
                if (schema.errors(json.dumps(test["data"])) == ()) is not test["valid"]:
                    wrong.append((path.name, group["description"], test["description"]))
    assert wrong == []
    assert refused <= NOT_TAKEN
    assert count >= least
