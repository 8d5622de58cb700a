"""What is kept of a request's headers with its events: useful ones, never secrets, and never anything that harms."""

import json
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ingestion.formats.request_headers import MAX_BYTES, MAX_HEADERS, MAX_VALUE, kept_headers
from ingestion.models import Event
from ingestion.operations import process_outbox
from organizations.models import Role
from tests.conftest import Tenant
from tests.support.people.console_data import browser_of, make_member

EVENT = {"type": "invoice.paid", "data": 1}
FIXED = examples(max_examples=300, derandomize=True, deadline=None, database=None)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._~!", min_size=1, max_size=40)
values = st.text(st.characters(max_codepoint=255), max_size=700) | st.text(max_size=40)


def kept(**headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    found: dict[str, Any] = json.loads(kept_headers(named) or "{}")
    return found


def stored() -> list[dict[str, Any]]:
    return [json.loads(text or "{}") for text in Event.objects.order_by("pk").values_list("annotations", flat=True)]


def test_it_works() -> None:
    found = kept(host="a", user_agent="curl/8", accept="*/*", authorization="Bearer evp_live_x", x_request_id="r-1")
    assert found == {"headers": {"user-agent": "curl/8", "accept": "*/*", "x-request-id": "r-1"}}
    assert kept_headers({"host": "a"}) is None


@pytest.mark.parametrize(
    "name",
    [
        "authorization", "proxy-authorization", "cookie", "x-api-key", "forwarded", "x-forwarded-for",
        "x-original-forwarded-for", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-azure-clientip",
        "x-envoy-external-address", "connection", "content-length", "host", "transfer-encoding",
    ],
)  # fmt: skip
def test_keys_addresses_and_the_connections_own_are_dropped(name: str) -> None:
    assert kept_headers({name: "10.0.0.1"}) is None


@pytest.mark.parametrize(
    "name",
    ["x-auth", "x-access-token", "x-client-secret", "x-password", "stripe-signature", "x-session-id", "api-key"],
)
def test_values_that_may_be_secret_are_masked(name: str) -> None:
    assert kept(**{name: "s3cr3t"}) == {"headers": {name: "***"}}


@pytest.mark.parametrize("value", ["evp_live_abc", "key=evp_live_abc", "Bearer abc", "basic YTpi"])
def test_a_key_in_another_header_is_masked(value: str) -> None:
    assert kept(x_note=value) == {"headers": {"x-note": "***"}}


def test_idempotency_keys_and_trace_contexts_are_kept() -> None:
    headers = {"idempotency-key": "k-1", "traceparent": "00-a", "tracestate": "b=1", "ce-id": "1"}
    assert kept(**headers) == {"headers": headers}


def test_what_is_kept_has_bounds() -> None:
    assert kept(x="ä" * 600)["headers"]["x"] == "ä" * (MAX_VALUE - 1) + "…"
    many = kept(**{f"x-{number}": "1" for number in range(40)})
    assert (len(many["headers"]), many["headers_left_out"]) == (MAX_HEADERS, 40 - MAX_HEADERS)
    assert next(iter(many["headers"])) == "x-0"
    large = kept(**{f"x-{number}": "\\" * 500 for number in range(10)}, y="1")
    assert list(large["headers"]) == ["x-0", "x-1", "x-2", "x-3", "y"]
    assert large["headers_left_out"] == 6


def test_bytes_are_read_as_utf_8_where_they_are() -> None:
    assert kept(x="Grüße".encode().decode("latin-1"), y="Gr\xfc\xdfe", z="a\x00b\x1b") == {
        "headers": {"x": "Grüße", "y": "Grüße", "z": "a�b�"}
    }


@FIXED
@given(st.dictionaries(names, values, max_size=60))
def test_whatever_comes_is_json_within_bounds(headers: dict[str, str]) -> None:
    text = kept_headers(headers) or '{"headers":{}}'
    found = json.loads(text)
    assert len(json.dumps(found["headers"], ensure_ascii=False, separators=(",", ":")).encode()) <= MAX_BYTES + 1
    assert len(found["headers"]) <= MAX_HEADERS
    assert all(len(value) <= MAX_VALUE for value in found["headers"].values())
    assert "\\u00" not in text
    assert headers.keys() >= found["headers"].keys()


def test_each_event_of_a_batch_has_its_requests_headers(tenant: Tenant) -> None:
    cloud = {"specversion": "1.0", "id": "1", "source": "/a", "type": "a", "part": "p"}
    tenant.post("/api/v1/events/batch", [EVENT, EVENT], **{"X-Shop": "1"})
    tenant.request("POST", "/api/v1/events", cloud, **{"Content-Type": "application/cloudevents+json"})
    assert [one["headers"].get("x-shop") for one in stored()] == ["1", "1", None]
    assert stored()[2]["attributes"] == {"specversion": "1.0", "id": "1", "part": "p"}


def test_headers_do_not_make_another_event(tenant: Tenant) -> None:
    body = {**EVENT, "idempotency_key": "k"}
    first = tenant.post("/api/v1/events", body, **{"X-Try": "1"}).json()
    again = tenant.post("/api/v1/events", body, **{"X-Try": "2"})
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    cloud = {"specversion": "1.0", "id": "1", "source": "/a", "type": "a", "data": {"a": 1, "b": 2}}
    other_order = {**cloud, "data": {"b": 2, "a": 1}}
    kind = {"Content-Type": "application/cloudevents+json"}
    answers = [
        tenant.request("POST", "/api/v1/events", one, **kind, **{"X-Try": str(number)})
        for number, one in enumerate((cloud, other_order))
    ]
    assert [answer.status_code for answer in answers] == [202, 200]


def test_the_api_shows_none_of_them(tenant: Tenant) -> None:
    sent = tenant.post("/api/v1/events", EVENT, **{"X-Shop": "seen-only-in-the-console"})
    tenant.post("/api/v1/events/batch", [EVENT], **{"X-Shop": "seen-only-in-the-console"})
    process_outbox()
    lease = tenant.post("/api/v1/inbox/lease", {"max": 10})
    answers = [sent, tenant.get("/api/v1/events"), tenant.get(f"/api/v1/events/{sent.json()['id']}"), lease]
    assert len(lease.json()["events"]) == 2
    assert [answer for answer in answers if "seen-only" in answer.content.decode()] == []
    event = answers[2].json()
    assert "headers" not in event
    assert event["attributes"] is None


def test_the_console_shows_them_folded(tenant: Tenant) -> None:
    member: Client = browser_of(make_member(tenant.organization, Role.MEMBER))
    tenant.post("/api/v1/events", EVENT, **{"X-Shop": "<b>7</b>", "X-Token": "s3cr3t"})
    event = Event.objects.get()
    path = f"/console/o/{tenant.organization.slug}/events/{event.pk}/"
    page = member.get(path).content.decode()
    assert "Request headers" in page
    assert "x-shop" in page
    assert "&lt;b&gt;7&lt;/b&gt;" in page
    assert "s3cr3t" not in page
    Event.objects.update(annotations=None)
    assert "No headers are stored." in member.get(path).content.decode()
