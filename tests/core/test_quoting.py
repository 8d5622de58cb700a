"""What an answer quotes of a request: its pointer and its sentence are right, and never long."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from core.decoding import decode
from core.field_errors import MAX_QUOTED, FieldError, field_error, pointer_to
from core.problems import Problem
from delivery.api.schemas import NewInbox
from ingestion.formats.cloudevents import CloudEvent
from ingestion.formats.decoding import EventBody
from ingestion.models import Event
from notifications.models import NoticeKind
from notifications.notices import announce
from tests.conftest import Tenant

LONG = "n" * 5_000


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    type: str = ""
    numbers: dict[str, int] = {}


class Body(msgspec.Struct, forbid_unknown_fields=True):
    items: list[Inner] = []


def error_of(body: Any) -> FieldError:
    with pytest.raises(Problem) as refused:
        decode(json.dumps(body).encode(), Body)
    (error,) = refused.value.errors
    return error


NAMES = st.text(st.sampled_from("`$ -at.[]~/\\\"'\n0…é"), min_size=1, max_size=40) | st.sampled_from(
    ["` - at `$", "x` - at `$", "` - at `$ ` - at `$", "a` - at `$b", "a.b[0]", "`", "$", " - at `$`", "a\nb`"]
)


@given(name=NAMES)
def test_an_unknown_field_is_named_whatever_it_is_called(name: str) -> None:
    error = error_of({name: 1})
    assert (error.pointer, error.code) == (pointer_to(name), "unknown_field")


@given(name=NAMES)
def test_an_unknown_field_has_its_place(name: str) -> None:
    error = error_of({"items": [{}, {name: 1}]})
    assert (error.pointer, error.code) == ("/items/1" + pointer_to(name), "unknown_field")


@pytest.mark.parametrize(
    ("message", "pointer", "code", "detail"),
    [
        ("Object missing required field `type`", "/type", "required", "This field is required."),
        ("Object missing required field `type` - at `$.a[3]`", "/a/3/type", "required", "This field is required."),
        ("Expected `int`, got `str` - at `$.a[...]`", "/a/...", "invalid", "Expected `int`, got `str`"),
        ("Expected `int`, got `str` - at `key` in `$.a`", "/a", "invalid", "Expected `int`, got `str`"),
        ("Invalid enum value '` - at `$' - at `$.a`", "/a", "invalid", "Invalid enum value '` - at `$'"),
        ("Expected `object`, got `array`", "", "invalid", "Expected `object`, got `array`"),
    ],
)
def test_messages_are_taken_apart(message: str, pointer: str, code: str, detail: str) -> None:
    assert field_error(message) == FieldError(pointer=pointer, code=code, detail=detail)


@pytest.mark.parametrize(
    ("kind", "body", "detail"),
    [
        (EventBody, {"type": "a b", "data": 1}, "This takes 1 to 255 of A-Za-z0-9._-/."),
        (CloudEvent, {"source": "a b"}, "This takes 1 to 1024 characters without white space."),
        (NewInbox, {"kind": "inbox", "name": "a b"}, "This takes 1 to 100 of A-Za-z0-9._-."),
    ],
)
def test_no_pattern_is_quoted(kind: Any, body: Any, detail: str) -> None:
    with pytest.raises(Problem) as refused:
        decode(json.dumps(body).encode(), kind)
    assert [error.detail for error in refused.value.errors] == [detail]


def longest_run(text: str, letter: str = "n") -> int:
    return max((len(run) for run in "".join(c if c == letter else " " for c in text).split()), default=0)


REQUESTS: dict[str, Callable[[Tenant], Any]] = {
    "unknown field": lambda tenant: tenant.post("/api/v1/events", {"type": "t", "data": 1, LONG: 1}),
    "repeated field": lambda tenant: tenant.post(
        "/api/v1/events", b'{"type":"t","data":1,"%s":1,"%s":1}' % (LONG.encode(), LONG.encode())
    ),
    "batch": lambda tenant: tenant.post("/api/v1/events/batch", [{"type": "t", "data": 1, LONG: 1}]),
    "envelope": lambda tenant: tenant.post("/api/v1/events/batch", {"events": [{"type": "t", "data": 1}], LONG: 1}),
    "content type": lambda tenant: tenant.client.post(
        "/api/v1/events", b"1", content_type=LONG, headers={"Authorization": f"Bearer {tenant.plaintext}"}
    ),
    "charset": lambda tenant: tenant.client.generic(
        "POST", "/api/v1/events", b"1", content_type=f"application/json; charset={LONG}",
        headers={"Authorization": f"Bearer {tenant.plaintext}"},
    ),
    "content type of another body": lambda tenant: tenant.client.post(
        "/api/v1/api-keys", b"1", content_type=LONG, headers={"Authorization": f"Bearer {tenant.plaintext}"}
    ),
    "parameter": lambda tenant: tenant.get(f"/api/v1/events?{LONG[:4000]}=1"),
    "choice": lambda tenant: tenant.post("/api/v1/event-types", {"name": "t", "validation": LONG}),
    "scope": lambda tenant: tenant.post("/api/v1/api-keys", {"name": "k", "scopes": [LONG]}),
    "header": lambda tenant: tenant.post(
        "/api/v1/subscriptions", {"kind": "webhook", "url": "https://example.com", "event_types": ["*"],
                                  "headers": {LONG + " ": "x"}},
    ),
    "filter": lambda tenant: tenant.post(
        "/api/v1/subscriptions",
        {"kind": "inbox", "name": "i", "event_types": ["*"], "filter": {"data.a": {LONG: 1}}},
    ),
    "kind": lambda tenant: tenant.post("/api/v1/subscriptions", {"kind": LONG}),
    "reference": lambda tenant: tenant.post("/api/v1/event-types", {"name": "t", "schema": {"$ref": "#/" + LONG}}),
    "schema": lambda tenant: tenant.post("/api/v1/event-types", {"name": "t", "schema": {LONG: 1, "type": LONG}}),
    "CloudEvent": lambda tenant: tenant.client.post(
        "/api/v1/events", json.dumps({"specversion": "1.0", "id": "1", "source": "s", "type": "t", LONG: 1}),
        content_type="application/cloudevents+json", headers={"Authorization": f"Bearer {tenant.plaintext}"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_an_answer_quotes_little_of_what_was_sent(tenant: Tenant, name: str) -> None:
    answer = REQUESTS[name](tenant)
    assert 400 <= answer.status_code < 500
    assert longest_run(answer.content.decode()) <= MAX_QUOTED
    assert len(answer.content) < 2_000


def test_the_names_of_data_that_does_not_fit_are_cut(tenant: Tenant) -> None:
    schema = {"additionalProperties": False, "patternProperties": {"^m": {"required": ["a"]}}}
    tenant.post("/api/v1/event-types", {"name": "t", "schema": schema, "validation": "reject"})
    data = {LONG: 1, "m" + LONG: {}, **{f"x{number}": 1 for number in range(500)}}
    answer = tenant.post("/api/v1/events", {"type": "t", "data": data})
    assert answer.status_code == 422
    assert longest_run(answer.content.decode()) <= MAX_QUOTED
    assert len(answer.content) < 2_000


# What is the platform's own

RESERVED = ["op:x", "op:delivery.dead_letter:1:2026-11-29T10", "op-mail:x"]


def cloudevent(**changes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "data": 1, **changes}


def post_as(tenant: Tenant, path: str, body: Any, media_type: str, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers["Authorization"] = f"Bearer {tenant.plaintext}"
    return tenant.client.post(path, content, content_type=media_type, headers=headers)


@pytest.mark.parametrize("key", RESERVED)
def test_the_platforms_keys_are_refused(tenant: Tenant, key: str) -> None:
    event = {"type": "t", "data": 1}
    single = tenant.post("/api/v1/events", {**event, "idempotency_key": key})
    header = tenant.post("/api/v1/events", event, **{"Idempotency-Key": key})
    for answer in (single, header):
        assert answer.status_code == 422
        assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
            ("/idempotency_key", "reserved")
        ]
    structured = post_as(tenant, "/api/v1/events", cloudevent(source=key), "application/cloudevents+json")
    binary = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": key.replace(":", "%3A")}
    for answer in (structured, post_as(tenant, "/api/v1/events", b"1", "application/json", **binary)):
        assert answer.status_code == 422
        assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [("/source", "reserved")]
    assert not Event.objects.exists()


def test_the_platforms_source_is_refused(tenant: Tenant) -> None:
    event = {"type": "t", "data": 1, "source": "/platform"}
    binary = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "/%70latform"}
    for answer in (
        tenant.post("/api/v1/events", event),
        post_as(tenant, "/api/v1/events", cloudevent(source="/platform"), "application/cloudevents+json"),
        post_as(tenant, "/api/v1/events", b"1", "application/json", **binary),
    ):
        assert answer.status_code == 422
        assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [("/source", "reserved")]
    assert not Event.objects.exists()


@pytest.mark.parametrize("member", [{"idempotency_key": "op:x"}, {"source": "/platform"}])
def test_both_are_refused_in_every_batch(tenant: Tenant, member: dict[str, str]) -> None:
    good, bad = {"type": "t", "data": 1}, {"type": "t", "data": 1, **member}
    lines = b"%s\n%s" % (json.dumps(good).encode(), json.dumps(bad).encode())
    events = [cloudevent(), cloudevent(source=next(iter(member.values())))]
    for answer in (
        tenant.post("/api/v1/events/batch", [good, bad]),
        tenant.post("/api/v1/events/batch", {"events": [good, bad]}),
        post_as(tenant, "/api/v1/events/batch", lines, "application/x-ndjson"),
        post_as(tenant, "/api/v1/events/batch", events, "application/cloudevents-batch+json"),
    ):
        results = answer.json()["results"]
        assert [result["status"] for result in results] == ["accepted", "rejected"]
        assert results[1]["error"]["errors"][0]["code"] == "reserved"


def test_what_only_looks_alike_is_free(tenant: Tenant) -> None:
    for member in ({"idempotency_key": "operation"}, {"idempotency_key": "OP:1"}, {"source": "/platform/billing"}):
        assert tenant.post("/api/v1/events", {"type": "t", "data": 1, **member}).status_code == 202


def test_the_platform_itself_uses_them(tenant: Tenant) -> None:
    announce(
        organization_id=tenant.organization.pk, kind=NoticeKind.LIMIT_REACHED, subject="x", data={}, now=timezone.now()
    )
    assert Event.objects.get().source == "/platform"
