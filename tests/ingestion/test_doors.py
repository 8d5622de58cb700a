"""The contract of the intake, over real HTTP, at both doors: gunicorn with ASGI, and with WSGI."""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import zstandard
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from pytest_django import DjangoDbBlocker

from ingestion.models import Event, IntakeCount, OutboxEntry
from organizations.operations import revoke_key, suspend_organization
from tests.factories import TESTER, make_organization
from tests.support.http.clients import Reply, Sender, make_sender
from tests.support.servers import Server, serve

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

EVENT = {"type": "invoice.paid", "data": {"amount": 12900}, "source": "/billing", "subject": "inv_1"}
FIELDS = {"content-type", "content-length", "request-id", "server-timing", "ratelimit", "ratelimit-policy"}


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def door(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Server]:
    kind: Literal["asgi", "wsgi"] = request.param
    with django_db_blocker.unblock(), serve(kind, workers=2) as server:
        yield server


@pytest.fixture
def sender(door: Server) -> Sender:
    return make_sender(door.base_url)


def stored() -> list[Event]:
    return list(Event.objects.order_by("pk"))


def test_an_event_is_committed_before_it_is_acknowledged(sender: Sender) -> None:
    reply = sender.client.post("/api/v1/events", {**EVENT, "time": "2026-11-23T10:00:00Z"})
    (event,) = stored()
    assert reply.status == 202
    body = reply.json()
    assert set(body) == {"id", "type", "status", "duplicate", "received_at"}
    assert (body["id"], body["type"], body["status"]) == (str(event.id), "invoice.paid", "accepted")
    assert body["duplicate"] is False
    assert UUID(body["id"]).version == 7
    assert (event.organization_id, event.source, event.subject) == (sender.organization.pk, "/billing", "inv_1")
    assert event.data == '{"amount": 12900}'
    (entry,) = OutboxEntry.objects.all()
    assert (entry.event_ids, entry.pk) == ([event.pk], event.batch_id)


def test_answers_carry_the_fields_of_the_contract(sender: Sender) -> None:
    reply = sender.client.post("/api/v1/events", EVENT, **{"Request-Id": "mine-1"})
    assert set(reply.headers) >= FIELDS
    assert reply.headers["request-id"] == "mine-1"
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["ratelimit-policy"] == '"plan";q=10000;w=60'
    assert reply.headers["ratelimit"].startswith('"plan";r=9999;t=')
    refused = sender.client.post("/api/v1/events", b"{")
    assert set(refused.headers) >= FIELDS
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["request_id"] == refused.headers["request-id"]


@pytest.mark.parametrize("in_header", [False, True])
def test_an_idempotency_key_is_one_event(sender: Sender, in_header: bool) -> None:
    headers = {"Idempotency-Key": "k"} if in_header else {}
    body = EVENT if in_header else {**EVENT, "idempotency_key": "k"}
    first = sender.client.post("/api/v1/events", body, **headers)
    again = sender.client.post("/api/v1/events", body, **headers)
    spaced = sender.client.post("/api/v1/events", json.dumps(body, indent=1, sort_keys=True).encode(), **headers)
    assert spaced.json() == again.json()
    other = sender.client.post("/api/v1/events", {**body, "data": 2}, **headers)
    assert (first.status, again.status, other.status) == (202, 200, 409)
    assert again.json() == {**first.json(), "duplicate": True}
    assert other.json()["code"] == "idempotency_key_reused"
    assert len(stored()) == 1


def test_idempotency_keys_of_organizations_are_apart(door: Server, sender: Sender) -> None:
    body = {**EVENT, "idempotency_key": "k"}
    other = make_sender(door.base_url)
    assert [s.client.post("/api/v1/events", body).status for s in (sender, other)] == [202, 202]


def test_keys_are_checked(door: Server, sender: Sender) -> None:
    def code(headers: dict[str, str]) -> tuple[int, str]:
        sender.client.key = None
        reply = sender.client.post("/api/v1/events", EVENT, **headers)
        assert (reply.status == 401) == ("www-authenticate" in reply.headers)
        return reply.status, reply.json()["code"]

    reader = make_sender(door.base_url, scopes=["events:read"])
    revoked = make_sender(door.base_url)
    revoke_key(key=revoked.api_key, actor=TESTER)
    suspended = make_sender(door.base_url)
    suspend_organization(organization=suspended.organization, reason="unpaid", actor=TESTER)
    assert code({}) == (401, "missing_api_key")
    assert code({"Authorization": "Basic abc"}) == (401, "missing_api_key")
    assert code({"X-API-Key": "evp_live_x"}) == (401, "invalid_api_key")
    assert code({"Authorization": f"bearer {revoked.client.key}"}) == (401, "api_key_revoked")
    assert code({"X-API-Key": suspended.client.key or ""}) == (403, "organization_suspended")
    assert code({"X-API-Key": reader.client.key or ""}) == (403, "insufficient_scope")
    assert not stored()


def test_a_refused_scope_tells_the_rate_limit_too(door: Server) -> None:
    reader = make_sender(door.base_url, scopes=["events:read"])
    assert reader.client.post("/api/v1/events", EVENT).headers["ratelimit"].startswith('"plan";r=10000;')


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({}, b"{", 400, "malformed_json"),
        ({}, b'{"type":"a","data":"\\u0000"}', 422, "validation_failed"),
        ({}, b'{"type":"a"}', 422, "validation_failed"),
        ({}, b'{"type":"a","data":"' + b"x" * 262_144 + b'"}', 413, "payload_too_large"),
        ({}, b'{"type":"a","data":"' + b"x" * 7_000_000 + b'"}', 413, "payload_too_large"),
        ({"Content-Type": "text/plain"}, b'{"type":"a","data":1}', 415, "unsupported_media_type"),
        ({"Content-Type": "application/json; charset=latin1"}, b'{"type":"a","data":1}', 415, "unsupported_media_type"),
        ({"Content-Encoding": "br"}, b'{"type":"a","data":1}', 415, "unsupported_media_type"),
        ({"Content-Encoding": "gzip"}, b'{"type":"a","data":1}', 400, "bad_request"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b" " * 100_000_000, mtime=0), 413, "payload_too_large"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_bad_input_is_named(sender: Sender, headers: dict[str, str], body: bytes, status: int, code: str) -> None:
    reply = sender.client.post("/api/v1/events", body, **headers)
    assert (reply.status, reply.json()["code"]) == (status, code)
    assert not stored()


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_bodies_may_be_compressed(sender: Sender, pack: Any) -> None:
    encoding = "gzip" if pack is gzip.compress else "zstd"
    reply = sender.client.post("/api/v1/events", pack(b'{"type":"a","data":[1]}'), **{"Content-Encoding": encoding})
    assert reply.status == 202
    assert stored()[0].data == "[1]"


def test_a_batch_keeps_its_good_events(sender: Sender) -> None:
    events = [
        {**EVENT, "idempotency_key": "k"},
        {**EVENT, "idempotency_key": "k"},
        {**EVENT, "idempotency_key": "k", "data": 2},
        {"type": "a b", "data": 1},
        EVENT,
    ]
    reply = sender.client.post("/api/v1/events/batch", {"events": events})
    assert reply.status == 202
    body = reply.json()
    assert (body["accepted"], body["duplicates"], body["rejected"]) == (2, 1, 2)
    assert [result["status"] for result in body["results"]] == [
        "accepted", "duplicate", "rejected", "rejected", "accepted",
    ]  # fmt: skip
    assert [result["index"] for result in body["results"]] == [0, 1, 2, 3, 4]
    assert body["results"][1]["id"] == body["results"][0]["id"]
    assert body["results"][2]["error"]["code"] == "idempotency_key_reused"
    assert body["results"][3]["error"]["errors"][0]["pointer"] == "/type"
    assert [str(event.pk) for event in stored()] == [body["results"][0]["id"], body["results"][4]["id"]]
    assert len({event.batch_id for event in stored()}) == 1


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'[{"type":"a","data":1},{"type":"b","data":2}]'),
        ("application/json", b'{"events":[{"type":"a","data":1},{"type":"b","data":2}]}'),
        ("application/x-ndjson", b'{"type":"a","data":1}\n\n{"type":"b","data":2}\n'),
    ],
)
def test_batches_have_three_forms(sender: Sender, content_type: str, body: bytes) -> None:
    reply = sender.client.post("/api/v1/events/batch", body, **{"Content-Type": content_type})
    assert (reply.status, reply.json()["accepted"]) == (202, 2)
    assert [(event.type, event.data) for event in stored()] == [("a", "1"), ("b", "2")]


def test_a_batch_without_a_good_event_is_refused_in_the_same_shape(sender: Sender) -> None:
    reply = sender.client.post("/api/v1/events/batch", [{"type": "a"}, {}])
    assert reply.status == 422
    assert (reply.json()["rejected"], len(reply.json()["results"])) == (2, 2)


def test_batches_have_a_bound(sender: Sender) -> None:
    reply = sender.client.post("/api/v1/events/batch", [{"type": "a", "data": n} for n in range(1001)])
    assert reply.status == 413
    full = sender.client.post("/api/v1/events/batch", [{"type": "a", "data": n} for n in range(1000)])
    assert (full.status, full.json()["accepted"]) == (202, 1000)
    assert Event.objects.count() == 1000


def test_the_cloudevents_sdk_sends_in_all_modes(sender: Sender) -> None:
    attributes = {"id": "1", "source": "/shop", "type": "order.paid", "specversion": "1.0", "subject": "o-1"}
    event = CloudEvent(attributes=attributes, data={"amount": 1})
    structured, binary = to_structured_event(event), to_binary_event(event)
    replies = [send_message(sender, message) for message in (structured, binary)]
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    paths = ("/api/v1/events", "/api/v1/events/batch")
    replies += [sender.client.post(path, b"[%s]" % structured.body, **batch) for path in paths]
    assert [reply.status for reply in replies] == [202, 200, 202, 202]
    assert replies[2].json()["duplicates"] == replies[3].json()["duplicates"] == 1
    (stored_event,) = stored()
    assert (stored_event.type, stored_event.source, stored_event.subject) == ("order.paid", "/shop", "o-1")
    assert stored_event.data == '{"amount": 1}'


def send_message(sender: Sender, message: HTTPMessage) -> Reply:
    headers = {name.title(): value for name, value in message.headers.items()}
    return sender.client.post("/api/v1/events", message.body, **headers)


def test_a_schema_is_obeyed_within_two_seconds(sender: Sender) -> None:
    schema = {"type": "object", "required": ["amount"]}
    body = {"type": "invoice.paid", "data": {}}
    assert sender.client.post("/api/v1/events", body).status == 202
    wanted = {"schema": schema, "validation": "reject"}
    assert sender.client.post("/api/v1/event-types", {"name": "invoice.paid", **wanted}).status == 201
    refused = _until(lambda: sender.client.post("/api/v1/events", body), 422)
    assert refused.json()["errors"][0]["pointer"] == "/data"
    sender.client.request("PATCH", "/api/v1/event-types/invoice.paid", {"validation": "warn"})
    warned = _until(lambda: sender.client.post("/api/v1/events", body), 202)
    assert warned.json()["schema_errors"][0]["code"] == "required"
    shown = sender.client.get(f"/api/v1/events/{warned.json()['id']}").json()
    assert shown["schema_errors"] == warned.json()["schema_errors"]
    batch = sender.client.post("/api/v1/events/batch", [body, {"type": "invoice.paid", "data": {"amount": 1}}])
    assert batch.json()["accepted"] == 2


def _until(send: Any, status: int) -> Reply:
    """The first reply with this status from every process; fails when two seconds and a margin pass without."""
    deadline = time.monotonic() + 10
    in_a_row = 0
    while in_a_row < 10:
        reply: Reply = send()
        in_a_row = in_a_row + 1 if reply.status == status else 0
        assert time.monotonic() < deadline, reply.body
    return reply


def test_an_organization_has_so_many_events_a_minute(door: Server) -> None:
    sender = make_sender(door.base_url, organization=make_organization(plan="free"))
    replies = [sender.client.post("/api/v1/events", EVENT) for _ in range(60)]
    assert [reply.status for reply in replies] == [202] * 60
    too_many = sender.client.post("/api/v1/events/batch", [EVENT] * 41)
    fits = sender.client.post("/api/v1/events/batch", [EVENT] * 40)
    over = sender.client.post("/api/v1/events", EVENT)
    assert (too_many.status, fits.status, over.status) == (429, 202, 429)
    assert over.json()["code"] == "rate_limited"
    assert 1 <= int(over.headers["retry-after"]) <= 60
    assert over.headers["ratelimit"].startswith('"plan";r=0;')
    assert Event.objects.count() == 100
    assert sender.client.get("/api/v1/events").headers["ratelimit"].startswith('"plan";r=0;')


def test_outcomes_are_counted_by_reason(sender: Sender) -> None:
    body = {**EVENT, "idempotency_key": "k"}
    for sent in (body, body, {**body, "data": 2}, {"type": "a b", "data": 1}):
        sender.client.post("/api/v1/events", sent)
    sender.client.post("/api/v1/events/batch", [EVENT, EVENT, {}])
    expected = {"accepted": 3, "duplicate": 1, "idempotency_key_reused": 1, "validation_failed": 2}
    deadline = time.monotonic() + 30
    counts: dict[str, int] = {}
    while sum(counts.values()) < sum(expected.values()):
        assert time.monotonic() < deadline, counts
        sender.client.get("/api/v1/organization")  # each process writes its own notes, in its own time
        rows = IntakeCount.objects.for_organization(sender.organization.pk).values_list("outcome", "count")
        counts = {outcome: 0 for outcome, _ in rows}
        for outcome, count in rows:
            counts[outcome] += count
    assert counts == expected


def test_both_doors_keep_the_same_headers(door: Server, sender: Sender) -> None:
    given_headers = {
        "Content-Type": "application/json; charset=utf-8", "X-Request-ID": "r-1", "X-Note": "Gr\xfc\xdfe\t;",
        "X-Forwarded-For": "1.2.3.4", "X-Api-Token": "s3cr3t", "X_Underscore": "1",
    }  # fmt: skip
    extra = [("X-Twice", "a"), ("User-Agent", "test/1"), ("X-Twice", "b")]
    sender.client.post("/api/v1/events", EVENT, **given_headers)
    status = send_raw(door, sender, [*extra, ("X-Utf8", "é")])
    first, second = [json.loads(event.annotations or "{}")["headers"] for event in stored()]
    assert first == {
        "accept-encoding": "identity", "content-type": "application/json; charset=utf-8", "x-request-id": "r-1",
        "x-note": "Grüße\t;".replace("\t", "\N{REPLACEMENT CHARACTER}"), "x-api-token": "***",
    }  # fmt: skip
    assert (status, second) == (202, {
        "content-type": "application/json", "user-agent": "test/1", "x-twice": "a,b", "x-utf8": "é",
    })  # fmt: skip


def test_odd_bytes_in_headers_harm_no_event(door: Server, sender: Sender) -> None:
    odd = ["\x80\xff", "\udcff", "\x00", "\x01\x1f\x7f", '"\\"', "\\u0000", "%00", "{}", "é" * 900, "\xa0 \x85", ""]
    statuses = [send_raw(door, sender, [("X-Odd", value)]) for value in odd]
    assert set(statuses) <= {202, 400}
    kept = [json.loads(event.annotations or "{}")["headers"] for event in stored()]
    assert len(kept) == statuses.count(202) >= 8
    assert all("x-odd" in headers for headers in kept)


def test_attributes_in_plain_utf8_are_those_of_the_structured_mode(door: Server, sender: Sender) -> None:
    """As the official SDKs of Go, Rust and JavaScript send them."""
    attributes = {"specversion": "1.0", "id": "1", "source": "/käse", "type": "t", "subject": "Zoë – à", "ext": "€"}
    body = json.dumps({**attributes, "data": EVENT}).encode()
    assert sender.client.post("/api/v1/events", body, **{"Content-Type": "application/cloudevents+json"}).status == 202
    assert send_raw(door, sender, [(f"ce-{name}", value) for name, value in attributes.items()]) == 200
    (event,) = stored()
    assert event.subject == "Zoë – à"


def test_an_idempotency_key_in_plain_utf8_is_that_of_the_body(door: Server, sender: Sender) -> None:
    assert sender.client.post("/api/v1/events", {**EVENT, "idempotency_key": "Zoë – à"}).status == 202
    assert send_raw(door, sender, [("Idempotency-Key", "Zoë – à")]) == 200


def send_raw(door: Server, sender: Sender, headers: list[tuple[str, str]]) -> int:
    """The status of an event with these headers, byte by byte: surrogates stand for bytes."""
    body = json.dumps(EVENT).encode()
    own = [("Host", "127.0.0.1"), ("Authorization", f"Bearer {sender.client.key}"), ("Connection", "close")]
    own += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    lines = [f"{name}: {value}".encode("utf-8", "surrogateescape") for name, value in [*own, *headers]]
    head = b"\r\n".join([b"POST /api/v1/events HTTP/1.1", *lines, b"", b""])
    address = urlsplit(door.base_url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
        connection.sendall(head + body)
        return int(connection.makefile("rb").readline().split()[1])


def test_methods_and_paths_beside_the_doors_are_djangos(sender: Sender) -> None:
    assert sender.client.request("PUT", "/api/v1/events", b"{}").status == 405
    assert sender.client.get("/api/v1/events").json()["data"] == []
    wrong_host = sender.client.post("/api/v1/events", EVENT, Host="evil.example")
    assert (wrong_host.status, wrong_host.headers["content-type"]) == (400, "application/problem+json")
    assert wrong_host.json()["detail"] == "The host 'evil.example' is not among those of the setting ALLOWED_HOSTS."
