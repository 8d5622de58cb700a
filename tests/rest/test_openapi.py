"""The OpenAPI document is complete and true, and its page needs nobody else."""

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import drf_spectacular
import jsonschema_rs
import pytest
from django.test import Client
from django.urls import get_resolver
from playwright.sync_api import sync_playwright

from core.problems import PROBLEM_TYPES
from delivery.api.schemas import SHOWN_STATUSES
from delivery.delivery_ids import delivery_id
from delivery.models import SubscriptionStatus
from ingestion.operations import process_outbox
from installation.local.data_dir import CHECKOUT
from organizations.plans import Plan
from rest.openapi import EXAMPLE_ID, OTHER_ID
from rest.openapi.document import build_document
from tests.conftest import Tenant, make_tenant
from tests.factories import inbox_of, make_key
from tests.support.routes import Route, implemented_operations
from tests.support.servers import serve

CHROMIUM = Path("/usr/bin/chromium")
# By its path: to import the package that holds it takes more than two seconds, of grammars that nobody needs.
SPECIFICATION = Path(drf_spectacular.__file__).parent / "validation/openapi_3_1_schema.json"
COLOR_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build_document()


def operations_of(document: dict[str, Any]) -> dict[Route, dict[str, Any]]:
    """(method, path) → the operation."""
    return {(method, path): operation for path, item in document["paths"].items() for method, operation in item.items()}


def contents_of(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where, and the media type object, of each body that the operation takes or gives."""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"request {media_type}", content
    for status, answer in operation["responses"].items():
        for media_type, content in answer.get("content", {}).items():
            yield f"{status} {media_type}", content


def value_of(document: dict[str, Any], example: dict[str, Any]) -> Any:
    if "$ref" in example:
        example = document["components"]["examples"][example["$ref"].rpartition("/")[2]]
    return example["value"]


def test_everyone_may_read_it(client: Client, document: dict[str, Any]) -> None:
    answer = client.get("/api/schema")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert answer.json() == document
    assert document["openapi"].startswith("3.1.")
    as_yaml = client.get("/api/schema", {"format": "yaml"})
    assert as_yaml["Content-Type"] == "application/yaml"
    assert b"openapi: 3.1." in as_yaml.content


def test_it_is_summed_up_for_programs_that_read_prose(client: Client, document: dict[str, Any]) -> None:
    answer = client.get("/llms.txt")
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/plain; charset=utf-8")
    text = answer.content.decode()
    assert text.startswith(f"# {document['info']['title']}\n\n> ")
    for (method, path), operation in operations_of(document).items():
        assert f"### {operation['summary']}\n\n`{method.upper()} {path}`" in text
    assert all(f"- `{code}` (" in text for code in PROBLEM_TYPES)


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    jsonschema_rs.validator_for(json.loads(SPECIFICATION.read_text())).validate(document)
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "components": document["components"]})


def test_it_has_every_route_and_method_and_no_other(document: dict[str, Any]) -> None:
    implemented = list(implemented_operations(get_resolver().url_patterns))
    assert sorted(operations_of(document)) == sorted(implemented)


def test_operations_are_named_once_and_grouped(document: dict[str, Any]) -> None:
    operations = operations_of(document).values()
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert {tag for operation in operations for tag in operation["tags"]} == {tag["name"] for tag in document["tags"]}


def parts_of(part: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document, whatever its depth."""
    if isinstance(part, dict):
        yield part
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from parts_of(each)


def test_generators_of_clients_can_read_it(document: dict[str, Any]) -> None:
    """Many refuse a value that an enum repeats, do not know lists of types, and need a server."""
    enums = [part["enum"] for part in parts_of(document) if isinstance(part.get("enum"), list)]
    assert [values for values in enums if len(set(values)) < len(values)] == []
    assert [part for part in parts_of(document) if isinstance(part.get("type"), list)] == []
    assert document["servers"][0]["url"] == "/"


def test_no_operation_takes_a_parameter_that_it_does_not_have(tenant: Tenant, document: dict[str, Any]) -> None:
    """But for the doors of the intake, which look at no query. What else is wrong is said later."""
    for (method, path), operation in operations_of(document).items():
        answer = tenant.request(method.upper(), re.sub(r"{\w+}", EXAMPLE_ID, path) + "?colour=red")
        if operation["operationId"] not in ("send_event", "send_events"):
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/colour"), path


def test_a_deleted_subscription_is_no_part_of_it(document: dict[str, Any]) -> None:
    assert {*SHOWN_STATUSES} == {*SubscriptionStatus.values} - {SubscriptionStatus.DELETED.value}
    for name in ("SubscriptionShown", "SubscriptionCreated"):
        assert sorted(document["components"]["schemas"][name]["properties"]["status"]["enum"]) == sorted(SHOWN_STATUSES)


def test_a_batch_of_cloudevents_has_one_place_in_it(tenant: Tenant, document: dict[str, Any]) -> None:
    """Else the answer to one event would be that to one or to many; the other place takes it nevertheless."""
    media_type = "application/cloudevents-batch+json"
    documented = {
        path
        for (_, path), operation in operations_of(document).items()
        if media_type in operation.get("requestBody", {}).get("content", {})
    }
    assert documented == {"/api/v1/events/batch"}
    accepted = document["paths"]["/api/v1/events"]["post"]["responses"]["202"]["content"]["application/json"]
    assert accepted["schema"] == {"$ref": "#/components/schemas/EventAccepted"}
    batch = [{"specversion": "1.0", "id": "1", "source": "/s", "type": "a.b", "data": 1}]
    for path in ("/api/v1/events", "/api/v1/events/batch"):
        headers = {"Authorization": f"Bearer {tenant.plaintext}"}
        answer = tenant.client.post(path, json.dumps(batch), content_type=media_type, headers=headers)
        assert answer.status_code == 202
        assert len(answer.json()["results"]) == 1


def test_every_operation_lists_what_it_can_answer(document: dict[str, Any]) -> None:
    for (method, path), operation in operations_of(document).items():
        expected = {"400", "401", "403", "500", "503"}
        if path == "/api/v1/organization":
            expected -= {"403"}  # open to every key, also of a suspended organization
        if "{" in path:
            expected |= {"404"}
        if "requestBody" in operation:
            expected |= {"413", "415", "422"}
        if path.startswith("/api/v1/events") and method == "post":
            expected |= {"429"}
        if path == "/api/v1/events" and method == "post":
            expected |= {"200", "202", "409"}
        assert expected <= operation["responses"].keys(), (method, path)
        assert any(status.startswith("2") for status in operation["responses"])


def test_every_answer_lists_its_headers(document: dict[str, Any]) -> None:
    for operation in operations_of(document).values():
        for status, answer in operation["responses"].items():
            expected = {"Request-Id", "Server-Timing"}
            expected |= {"WWW-Authenticate"} if status == "401" else {"RateLimit-Policy", "RateLimit"}
            expected |= {"Retry-After"} if status in {"429", "503"} else set()
            assert answer["headers"].keys() - {"ETag"} == expected


def test_every_code_is_given_by_some_operation(document: dict[str, Any]) -> None:
    given = {
        code
        for operation in operations_of(document).values()
        for place, content in contents_of(operation)
        if "problem+json" in place
        for code in content["examples"]
    }
    # The others are for paths and methods that the document does not have, for people who are signed in, and for what
    # is refused before it is a request of any operation.
    others = {"method_not_allowed", "permission_denied"}
    others |= {"request_timeout", "uri_too_long", "header_too_large", "not_implemented"}
    assert given == PROBLEM_TYPES.keys() - others == document["components"]["examples"].keys()


def test_every_body_has_examples_that_fit_its_schema(document: dict[str, Any]) -> None:
    for route, operation in operations_of(document).items():
        for place, content in contents_of(operation):
            assert content["examples"], (route, place)
            schema = {**content["schema"], "components": document["components"]}
            validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
            for name, example in content["examples"].items():
                errors = [str(error) for error in validator.iter_errors(value_of(document, example))]
                assert errors == [], (route, place, name)


def values_of_paths(tenant: Tenant) -> dict[str, str]:
    """A new object of the tenant for each parameter that a path can have."""
    event_type = {"name": "a.b", "schema": False, "validation": "warn"}
    assert tenant.post("/api/v1/event-types", event_type).status_code == 201
    webhook = tenant.post("/api/v1/subscriptions", {"kind": "webhook", "url": "https://example.com/"})
    event = tenant.post("/api/v1/events", {"type": "a.b", "data": 1, "time": "2026-11-23T10:00:00Z"})
    subscription_id, event_id = webhook.json()["id"], event.json()["id"]
    window = {"received_after": "2026-11-01T00:00:00Z", "received_before": "2026-11-02T00:00:00Z"}
    replay = tenant.post("/api/v1/replays", {"subscription": subscription_id, **window})
    retry = tenant.post(f"/api/v1/subscriptions/{subscription_id}/dead-letters/retry", None)
    return {
        "key_id": str(tenant.key.pk),
        "replay_id": replay.json()["id"],
        "job_id": retry.json()["id"],
        "event_id": event_id,
        "name": "a.b",
        "subscription_id": subscription_id,
        # Once the event is processed.
        "delivery_id": str(delivery_id(UUID(event_id), UUID(subscription_id))),
    }


def with_real_ids(tenant: Tenant, path: str, body: str) -> str:
    """The body of an example whose ids must be those of objects that exist."""
    if path == "/api/v1/replays":
        values = values_of_paths(tenant)
        return body.replace(EXAMPLE_ID, values["subscription_id"]).replace(OTHER_ID, values["event_id"])
    if path == "/api/v1/inbox/extend":
        tenant.post("/api/v1/events", {"type": "a.b", "data": 1})
        process_outbox()
        lease: str = tenant.post("/api/v1/inbox/lease", {"max": 1}).json()["lease_id"]
        return re.sub(r'("lease_id": )"[^"]*"', rf'\1"{lease}"', body)
    if path == "/api/v1/portal-links":
        return body.replace(EXAMPLE_ID, str(inbox_of(tenant.organization)))
    return body


def assert_documented(document: dict[str, Any], operation: dict[str, Any], answer: Any) -> None:
    """The answer has the headers and the members that the document says, and no member beside them."""
    described = operation["responses"][str(answer.status_code)]
    assert described["headers"].keys() <= set(answer.headers)
    components = copy.deepcopy(document["components"])
    for schema in components["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    content = described["content"][answer["Content-Type"]]
    jsonschema_rs.validate({**content["schema"], "components": components}, answer.json(), validate_formats=True)


@pytest.mark.parametrize(
    ("route", "media_type", "name"),
    [
        pytest.param(route, media_type, name, id=f"{' '.join(route)} {name}")
        for route, operation in operations_of(build_document()).items()
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items()
        for name in content["examples"]
    ],
)
def test_every_request_example_works(
    tenant: Tenant, document: dict[str, Any], route: Route, media_type: str, name: str
) -> None:
    method, path = route
    operation = document["paths"][path][method]
    if "{" in path:
        path = path.format_map(values_of_paths(tenant))
    body = operation["requestBody"]["content"][media_type]["examples"][name]["value"]
    answer = tenant.client.generic(
        method,
        path,
        with_real_ids(tenant, path, body if isinstance(body, str) else json.dumps(body)),
        content_type=media_type,
        headers={"Authorization": f"Bearer {tenant.plaintext}"},
    )
    assert 200 <= answer.status_code < 300, answer.content
    assert_documented(document, operation, answer)


def test_every_answer_to_a_reader_is_as_documented(tenant: Tenant, document: dict[str, Any]) -> None:
    values = values_of_paths(tenant)
    binary = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "a.c", "ce-color": "red"}
    assert tenant.post("/api/v1/events", {"x": 1}, **binary).status_code == 202
    process_outbox()
    for (method, path), operation in operations_of(document).items():
        if method == "get" and "text/event-stream" not in operation["responses"]["200"]["content"]:
            filled = path.format_map(values)
            answer = tenant.get(filled)
            assert answer.status_code == 200, filled
            assert answer.json().get("data") != [], f"{filled} is to list something"
            assert_documented(document, operation, answer)


@pytest.mark.parametrize(
    ("expires_at", "status"),
    [
        ("2999-12-16T19:46:21.47+21:19", 201),
        ("9999-12-31T23:59:59-10:00", 422),
        ("0001-01-01T00:00:00+10:00", 422),
    ],
)
def test_an_expiry_may_have_any_offset(tenant: Tenant, expires_at: str, status: int) -> None:
    """Found by Schemathesis: PostgreSQL refuses offsets of 16 hours and more, Python's years end in 9999."""
    body = {"name": "a", "scopes": ["events:read"], "expires_at": expires_at}
    assert tenant.post("/api/v1/api-keys", body).status_code == status


# --- The running server against its document ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.begin_first
@pytest.mark.django_db(transaction=True)
def test_the_server_keeps_to_it() -> None:
    fuzz("--max-examples=3", "--phases=examples,coverage,fuzzing", "--generation-deterministic")


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_both_servers_keep_to_it_for_long(kind: Literal["asgi", "wsgi"]) -> None:
    """With other requests each time; the seed is in the output of a failure."""
    fuzz("--max-examples=250", kind=kind)


def fuzz(*options: str, kind: Literal["asgi", "wsgi"] = "asgi") -> None:
    """Schemathesis, with the key of an enterprise tenant, against a server of our own."""
    tenant = make_tenant()
    tenant.organization.plan = Plan.ENTERPRISE
    tenant.organization.save()
    spare, _ = make_key(tenant.organization)
    keys = {
        "EVENTS_API_KEY": tenant.plaintext,
        "EVENTS_API_KEY_ID": str(tenant.key.pk),
        "EVENTS_SPARE_KEY_ID": str(spare.pk),
    }
    with serve(kind) as server:
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/support/schemathesis.toml", "run"]
        command += [f"{server.base_url}/api/schema", "--no-color", *options]
        ran = subprocess.run(
            command,
            cwd=CHECKOUT,
            env=os.environ | keys,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout
    # All but the stream of events, which has no end.
    assert f"{len(operations_of(build_document())) - 1} selected" in ran.stdout


# --- The page ----------------------------------------------------------------------------------------------------


def test_only_the_page_of_the_api_allows_inline_styles(client: Client) -> None:
    policy = client.get("/api/docs")["Content-Security-Policy"]
    assert "style-src 'self' 'unsafe-inline'" in policy
    assert "script-src 'self';" in policy + ";"
    assert "unsafe-inline" not in client.get("/docs/errors")["Content-Security-Policy"]


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs a browser")
@pytest.mark.django_db(transaction=True)
def test_the_page_renders_without_anyone_else() -> None:
    complaints: list[str] = []
    requests: list[str] = []
    with serve(workers=1) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for color_scheme in COLOR_SCHEMES:
            page = browser.new_page(color_scheme=color_scheme)
            # Unfolding an operation, the page computes for seconds, and for many more beside other tests.
            page.set_default_timeout(120_000)
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda request: requests.append(request.url))
            page.goto(f"{server.base_url}/api/docs")
            page.locator("#operations-events-send_event button").first.click()
            page.get_by_text("Execute", exact=True).wait_for()
            assert page.locator(".opblock").count() == len(operations_of(build_document()))
            assert page.locator("html.dark-mode").count() == (color_scheme == "dark")
        browser.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith((server.base_url, "data:"))] == []
