"""What a tenant sends is what its receivers get: the same text, by every door and every way out."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings

from console.exports.jobs import export_part
from core.ports import SyncDatabase, run_now
from delivery.models import Delivery
from delivery.webhooks.claiming import claim
from delivery.webhooks.webhook_requests import build_request
from ingestion.formats.dispatch import decode_batch, decode_single
from ingestion.models import AlsoAsJsonb, Event
from ingestion.operations import process_outbox
from organizations.models import Role
from tests.conftest import Tenant
from tests.factories import START, make_key, make_organization, make_webhook
from tests.support.events.json_texts import JSON_TEXTS, TEXTS, without_space_at_the_ends
from tests.support.people.console_exports import begin, finish
from tests.support.people.console_site import as_role

JSON, LINES = {"content-type": "application/json"}, {"content-type": "application/x-ndjson"}
STRUCTURED = {"content-type": "application/cloudevents+json"}
CLOUDEVENTS = {"content-type": "application/cloudevents-batch+json"}
EVENTS, BATCH = "/api/v1/events", "/api/v1/events/batch"


class Shown(msgspec.Struct):
    id: str
    data: msgspec.Raw


class Shows(msgspec.Struct):
    """A list, or a lease."""

    data: list[Shown] = []
    events: list[Shown] = []


def event_of(text: str) -> str:
    return f'{{"type":"t","data":{text},"source":"/s"}}'


def cloudevent_of(text: str, number: int) -> str:
    return f'{{"specversion":"1.0","id":"{number}","source":"/s","type":"t","data":{text}}}'


def batches(texts: list[str]) -> dict[str, tuple[dict[str, str], str]]:
    """By door: headers and body."""
    events = ",".join(map(event_of, texts))
    cloud = ",".join(cloudevent_of(text, number) for number, text in enumerate(texts))
    # One event a line, so none can have a line break.
    lines = "\n".join(event_of(text.replace("\n", "").replace("\r", "")) for text in texts)
    return {
        "array": (JSON, f"[{events}]"),
        "envelope": (JSON, f'{{"events": [{events}]}}'),
        "lines": (LINES, lines),
        "cloudevents": (CLOUDEVENTS, f"[{cloud}]"),
    }


def singles(text: str, number: int) -> dict[str, tuple[dict[str, str], str]]:
    binary = {**JSON, "ce-specversion": "1.0", "ce-id": f"b{number}", "ce-source": "/s", "ce-type": "t"}
    return {
        "native": (JSON, event_of(text)),
        "structured": (STRUCTURED, cloudevent_of(text, -number - 1)),
        "binary": (binary, text),
    }


# --- Ways in, without a database -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_each_door_takes_the_text_as_it_is(text: str) -> None:
    _check_doors([text])


@settings(max_examples=50)
@given(JSON_TEXTS)
def test_each_door_takes_any_text_as_it_is(text: str) -> None:
    _check_doors([text, text])


def _check_doors(texts: list[str]) -> None:
    expected = without_space_at_the_ends(texts[0])
    for door, (headers, body) in singles(texts[0], 1).items():
        assert without_space_at_the_ends(decode_single(headers, body.encode()).data) == expected, door
    for door, (headers, body) in batches(texts).items():
        for event in decode_batch(headers, body.encode()):
            assert not isinstance(event, Exception), door
            assert without_space_at_the_ends(event.data) == expected, door
            assert event.rounded is None or json.loads(event.rounded) == json.loads(expected)


# --- In and out ------------------------------------------------------------------------------------------------------


@pytest.fixture
def busy(db: None) -> Tenant:
    """On a plan that takes all of it."""
    organization = make_organization(plan="enterprise")
    return Tenant(organization, *make_key(organization), Client(raise_request_exception=False))


def send_all(tenant: Tenant) -> dict[str, str]:
    """The text that each event should have, by its id: all in one batch, and some by every other door."""
    sent: dict[str, str] = {}
    some = list(TEXTS[::9])
    for texts, (headers, body) in [(list(TEXTS), batches(list(TEXTS))["array"])] + [
        (some, each) for each in batches(some).values()
    ]:
        results = _post(tenant, BATCH, headers, body).json()["results"]
        sent |= {result["id"]: text for result, text in zip(results, texts, strict=True)}
    for number, text in enumerate(some):
        for headers, body in singles(text, number).values():
            sent[_post(tenant, EVENTS, headers, body).json()["id"]] = text
    return {event_id: without_space_at_the_ends(text) for event_id, text in sent.items()}


def _post(tenant: Tenant, path: str, headers: dict[str, str], body: str) -> Any:
    own = {**headers, "authorization": f"Bearer {tenant.plaintext}"}
    answer = tenant.client.generic("POST", path, body.encode(), content_type=headers["content-type"], headers=own)
    assert answer.status_code == 202, answer.content
    return answer


def pages_of(tenant: Tenant, path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    cursor: str | None = ""
    while cursor is not None:
        body = b"".join(tenant.get(f"{path}{cursor and f'&cursor={cursor}'}"))
        found |= shown_in(body)
        cursor = json.loads(body)["next_cursor"]
    return found


def shown_in(body: bytes) -> dict[str, str]:
    shows = msgspec.json.decode(body, type=Shows)
    return {each.id: bytes(each.data).decode() for each in [*shows.data, *shows.events]}


def lines_of(content: bytes) -> dict[str, str]:
    shown = [msgspec.json.decode(line, type=Shown) for line in content.split(b"\n") if line]
    return {each.id: bytes(each.data).decode() for each in shown}


def of_events(tenant: Tenant, _: Path) -> dict[str, str]:
    ids = Event.objects.for_organization(tenant.organization.pk).values_list("pk", flat=True)
    shown = [msgspec.json.decode(tenant.get(f"{EVENTS}/{pk}").content, type=Shown) for pk in ids]
    return {each.id: bytes(each.data).decode() for each in shown}


def of_leases(tenant: Tenant, _: Path) -> dict[str, str]:
    return shown_in(b"".join(tenant.post("/api/v1/inbox/lease", {"max": 1000})))


def of_webhooks(tenant: Tenant, _: Path) -> dict[str, str]:
    subscription = tenant.organization.subscriptions.get(kind="webhook")
    # This transaction began before they became due.
    Delivery.objects.filter(subscription=subscription).update(next_attempt_at=START)
    bodies = []
    for one in run_now(claim(SyncDatabase(), {subscription.pk: 1_000})):
        assert one.data is not None
        now = timezone.now()
        request = build_request(
            url=one.url,
            secrets=[b"1"],
            headers={},
            event_id=one.event_id,
            event_type="t",
            received_at=now,
            data=one.data,
            now=now,
        )
        bodies.append(request.body)
    return lines_of(b"\n".join(bodies))


def of_exports(tenant: Tenant, _: Path, kind: str = "ndjson") -> dict[str, str]:
    export = finish(begin(as_role(tenant.organization, Role.MEMBER), kind=kind))
    content = b"".join(export_part(export.pk, number) for number in range(export.parts))
    if kind == "ndjson":
        return lines_of(content)
    csv.field_size_limit(1_000_000)
    rows = csv.DictReader(io.StringIO(content.decode(), newline=""))
    # A spreadsheet would take what begins so for a formula.
    return {row["id"]: row["data"].removeprefix("'") for row in rows}


def of_organization(tenant: Tenant, folder: Path) -> dict[str, str]:
    call_command("export_organization", tenant.organization.slug, to=folder / "export", stdout=io.StringIO())
    return lines_of((folder / "export" / "ingestion_event.ndjson").read_bytes())


def of_console(tenant: Tenant, _: Path) -> dict[str, str]:
    site = as_role(tenant.organization, Role.MEMBER)
    ids = Event.objects.for_organization(tenant.organization.pk).values_list("pk", flat=True)
    return {str(pk): site.page(f"events/{pk}/raw?part=data") for pk in ids}


WAYS_OUT: dict[str, Callable[[Tenant, Path], dict[str, str]]] = {
    "events": of_events,
    "list": lambda tenant, _: pages_of(tenant, f"{EVENTS}?limit=100"),
    "inbox": lambda tenant, _: pages_of(tenant, "/api/v1/inbox?limit=100"),
    "lease": of_leases,
    "webhook": of_webhooks,
    "ndjson export": of_exports,
    "csv export": lambda tenant, folder: of_exports(tenant, folder, "csv"),
    "export of the organization": of_organization,
    "console": of_console,
}


@pytest.mark.parametrize("also_as_jsonb", [False, True])
def test_each_text_goes_out_as_it_came_in_by_every_way(busy: Tenant, tmp_path: Path, also_as_jsonb: bool) -> None:
    """Also while the version before may read the same events."""
    AlsoAsJsonb.objects.bulk_create([AlsoAsJsonb(id=1)] if also_as_jsonb else [])
    make_webhook(busy.organization, event_types=["*"])
    sent = send_all(busy)
    process_outbox()
    for way, read in WAYS_OUT.items():
        found = {event_id: without_space_at_the_ends(text) for event_id, text in read(busy, tmp_path).items()}
        assert found.keys() == sent.keys(), way
        assert [(found[each], text) for each, text in sent.items() if found[each] != text] == [], way
    without_jsonb = Event.objects.filter(data_jsonb__isnull=True).count()
    assert without_jsonb == (0 if also_as_jsonb else len(sent))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=JSON_TEXTS.map(without_space_at_the_ends).filter(len).map(lambda text: [text, f"[{text}]"]))
def test_any_text_comes_back(busy: Tenant, texts: list[str]) -> None:
    body = f"[{','.join(map(event_of, texts))}]"
    ids = [result["id"] for result in busy.post(BATCH, body.encode()).json()["results"]]
    found = shown_in(b"".join(busy.get(f"{EVENTS}?limit=2")))
    assert [found[event_id] for event_id in ids] == texts


def test_the_page_of_an_event_shows_what_was_sent(busy: Tenant) -> None:
    text = '{"b":1.10,"a":-0,"a":5e-324,"empty":{},"n":123456789012345678901234567890}'
    event_id = busy.post(EVENTS, event_of(text).encode()).json()["id"]
    page = as_role(busy.organization, Role.MEMBER).page(f"events/{event_id}/")
    for shown in ("1.10", "-0", "5e-324", "{}", "123456789012345678901234567890"):
        assert f">{shown}</span>" in page
    assert page.count('<span class="json-name">&quot;a&quot;</span>') == 2
    assert page.index("&quot;b&quot;</span>") < page.index("&quot;a&quot;</span>")


@pytest.mark.parametrize("text", ["1e400", "-1e309", "9" * 309, "[1.7976931348623159e308]", '{"a":1e99999999999}'])
def test_what_is_no_double_is_refused_in_these_words(busy: Tenant, text: str) -> None:
    answer = busy.post(EVENTS, event_of(text).encode())
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/data", "number_out_of_range")
    assert error["detail"].startswith("data holds a number beyond the range of a double: ")


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ('{"a":1,"b":[1.0,2]}', '{ "b": [1, 20e-1],\n"a": 1 }', True),
        ('{"a":1}', '{"a":2,"a":1}', True),
        ('"é"', r'"\u00e9"', True),
        ("[1,2]", "[2,1]", False),
        ("1", '"1"', False),
        ("1e-20000", "2e-20000", False),
        ("[1e-20000]", "[ 1e-20000 ]", True),
        ("5e-324", "5E-324", True),
    ],
)
def test_keys_compare_what_is_meant(busy: Tenant, first: str, second: str, is_same: bool) -> None:
    answers = [
        busy.post(EVENTS, event_of(text).encode(), **{"Idempotency-Key": "k"}) for text in (first, second, first)
    ]
    assert [answer.status_code for answer in answers] == [202, 200 if is_same else 409, 200]
