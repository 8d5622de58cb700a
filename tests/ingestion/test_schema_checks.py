"""What the schemas of one organization may cost the others: nothing but the CPU time that is its share."""

import asyncio
import gzip
import json
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from threading import Thread
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import psutil
import pytest
from django.conf import settings

from core import bounds
from core.field_errors import FieldError
from core.problems import Problem
from ingestion.api import events as views
from ingestion.cpu_budget import SAVED_SECONDS, intake_budget
from ingestion.formats import decoding
from ingestion.formats.decoding import DecodedEvent
from ingestion.formats.dispatch import batch_steps, decode_batch
from ingestion.models import Event
from ingestion.operations.event_types import MAX_SCHEMAS_CHARACTERS
from ingestion.schemas import checking
from ingestion.schemas import process as schema_process
from ingestion.schemas.checking import SLOW_FOR_SECONDS, STOPPED_SECONDS, SchemaChecks, Unchecked, schema_checks
from ingestion.schemas.compiling import MAX_COST, compile_schema
from ingestion.schemas.messages import Question, Reply, receive, send
from ingestion.schemas.parts import SchemaError
from ingestion.schemas.process import CompiledSchemas
from organizations.models import Organization
from rest.doors.threads import in_place
from rest.problems import describe_problem
from tests.conftest import Tenant

NAME = "invoice.paid"
SIMPLE = '{"type": "integer"}'
# Numbers of 390 digits are compared as fractions, 7 µs each time, which the bound of the cost does not foresee.
UNFORESEEN = json.dumps({"items": {"allOf": [{"minimum": 1}] * 300}})
DIGITS = json.dumps([10**390] * 600)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def checks(clock: Clock) -> Iterator[SchemaChecks]:
    found = SchemaChecks(clock=clock)
    yield found
    found.stop()


def reply_of(answer: Reply | Unchecked) -> Reply:
    assert isinstance(answer, Reply)
    return answer


def put_in_force(tenant: Tenant, mode: str) -> None:
    wanted = {"name": NAME, "schema": json.loads(SIMPLE), "validation": mode}
    assert tenant.post("/api/v1/event-types", wanted).status_code == 201


def spend_all(tenant: Tenant) -> None:
    schema_checks.budget.spend(tenant.organization.pk, 10.0)


def test_events_are_checked_and_the_time_is_counted(checks: SchemaChecks) -> None:
    organization = uuid4()
    before = checks.budget.left(organization)
    reply = reply_of(checks.check_now(organization, [SIMPLE, '{"type": "text"}'], [(0, "1"), (0, '"x"'), (1, "2")]))
    assert [[error.code for error in errors] for errors in reply.findings] == [[], ["type"], []]
    assert reply.refusals[0] is None
    assert reply.refusals[1]
    assert reply.refusals[1][0] == "invalid_schema"
    assert checks.budget.left(organization) == pytest.approx(before - reply.seconds)


def test_a_check_that_goes_on_and_on_is_stopped_and_others_go_on(checks: SchemaChecks) -> None:
    """The system counts the CPU time: what the bound of the cost did not foresee cannot hold anything up."""
    organization, other = uuid4(), uuid4()
    schema = compile_schema(UNFORESEEN)
    assert schema.cost.of(DIGITS, json.loads(DIGITS)) < MAX_COST
    assert checks.check_now(organization, [UNFORESEEN], [(0, DIGITS)]) is Unchecked.STOPPED
    assert checks.budget.left(organization) <= SAVED_SECONDS - STOPPED_SECONDS
    assert reply_of(checks.check_now(other, [SIMPLE], [(0, "1")])).findings == [()]
    assert checks.check_now(organization, [SIMPLE], [(0, "1")]) is Unchecked.SPENT


def test_whoever_waits_for_a_check_keeps_no_place_from_others(
    checks: SchemaChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[bool] = []

    def ask(*_: object) -> Unchecked:
        assert left == [True]
        return Unchecked.SPENT

    monkeypatch.setattr(checks, "_ask", ask)
    with in_place(lambda *, keeps_share: left.append(keeps_share)):
        assert checks.check_now(uuid4(), [SIMPLE]) is Unchecked.SPENT
    with checking._asking.hold(None, bounds.MAX_SCHEMA_CHECKS):
        assert checks.check_now(uuid4(), [SIMPLE]) is Unchecked.AWAY


def test_a_schema_that_takes_too_long_to_compile_is_stopped(tenant: Tenant, other_tenant: Tenant) -> None:
    """The engine looks through a pattern of many classes for minutes."""
    refused = tenant.post("/api/v1/event-types", {"name": NAME, "schema": {"pattern": "\\w" * 8_000}})
    assert refused.status_code == 422
    assert [(error["pointer"], error["code"]) for error in refused.json()["errors"]] == [("/schema", "too_costly")]
    assert other_tenant.post("/api/v1/event-types", {"name": NAME, "schema": {}}).status_code == 201


def test_time_comes_back_by_the_share_of_each_second(checks: SchemaChecks, clock: Clock) -> None:
    organization = uuid4()
    checks.budget.spend(organization, SAVED_SECONDS + 0.25)
    assert checks.check_now(organization, [SIMPLE], [(0, "1")]) is Unchecked.SPENT
    assert checks.budget.wait(organization) == 3  # a tenth of a second each second
    clock.now += 3
    assert isinstance(checks.check_now(organization, [SIMPLE], [(0, "1")]), Reply)
    clock.now += 3600
    assert checks.budget.left(organization) == SAVED_SECONDS


def test_nobody_waits_behind_an_organization_whose_checks_took_long(
    checks: SchemaChecks, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = uuid4(), uuid4()
    monkeypatch.setattr(checking, "SLOW_SECONDS", 0.0)
    checks.check_now(slow, [SIMPLE], [(0, "1")])
    monkeypatch.undo()
    lane = checks._lane(slow)
    assert checks._lane(other) is not lane
    with lane.turn:  # as while its next question is answered
        assert isinstance(checks.check_now(other, [SIMPLE], [(0, "1")]), Reply)
    checks.check_now(slow, [SIMPLE], [(0, "1")])
    near, far = (psutil.Process(checks._lane(each)._process.pid).nice() for each in (other, slow))  # type: ignore[union-attr]
    assert psutil.Process().nice() < near < far
    clock.now += SLOW_FOR_SECONDS + 1
    assert checks._lane(slow) is checks._lane(other)


def test_questions_that_wait_find_the_time_spent_when_their_turn_comes(checks: SchemaChecks) -> None:
    """However many an organization asks at once, the others wait for no more than its time."""
    organization = uuid4()
    found: list[object] = []
    lane = checks._lane(organization)

    def ask() -> None:
        found.append(checks.check_now(organization, [SIMPLE], [(0, "1")]))

    with lane.turn:
        threads = [Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        checks.budget.spend(organization, 10.0)
    for thread in threads:
        thread.join()
    assert found == [Unchecked.SPENT] * 5


def test_a_question_ends_soon_and_the_rest_is_asked_anew(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """So one organization's batch is not one long wait for the others."""
    question = Question("a", [SIMPLE], [(0, "1"), (0, '"x"'), (0, "2")])
    monkeypatch.setattr(schema_process, "QUESTION_SECONDS", 0.0)
    assert len(schema_process.answer(question, CompiledSchemas()).findings) == 1

    async def check(organization_id: UUID, schemas: Any, events: Any = (), asserting: Any = ()) -> Reply | Unchecked:
        return schema_process.answer(Question(str(organization_id), list(schemas), list(events)), CompiledSchemas())

    put_in_force(tenant, "reject")
    monkeypatch.setattr(views, "_PORTS", replace(views._PORTS, check=check))
    results = tenant.post("/api/v1/events/batch", [{"type": NAME, "data": data} for data in (1, "x", 2)]).json()
    assert [result["status"] for result in results["results"]] == ["accepted", "rejected", "accepted"]


def test_the_event_loop_goes_on_meanwhile(checks: SchemaChecks) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def check() -> Reply | Unchecked:
        counting = asyncio.create_task(count())
        try:
            return await checks.check(uuid4(), [UNFORESEEN], [(0, DIGITS)])
        finally:
            counting.cancel()

    assert asyncio.run(check()) is Unchecked.STOPPED
    assert turns > 100


def test_a_batch_is_checked_in_questions_of_a_bounded_size(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two of them others have their turn."""
    asked: list[list[int]] = []

    async def check(organization_id: UUID, schemas: Any, events: Any = (), asserting: Any = ()) -> Reply | Unchecked:
        asked.append([len(data) for _, data in events])
        return Reply([()] * len(events), [None], 0.0)

    Organization.objects.filter(pk=tenant.organization.pk).update(plan="enterprise")
    put_in_force(tenant, "reject")
    monkeypatch.setattr(views, "_PORTS", replace(views._PORTS, check=check))
    for count, size in ((1_000, 1), (40, 60_000)):
        sent = tenant.post("/api/v1/events/batch", [{"type": NAME, "data": "x" * size}] * count).json()
        assert sent["accepted"] == count
    assert sum(map(len, asked)) == 1_040
    assert max(map(len, asked)) <= 100
    assert max(map(sum, asked)) <= 256 * 1024


def test_no_process_to_be_had_is_said(checks: SchemaChecks, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no memory")

    organization = uuid4()
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", fail)
        assert checks.check_now(organization, [SIMPLE], [(0, "1")]) is Unchecked.AWAY
    assert checks.problem_of(Unchecked.AWAY, organization).status_code == 503
    assert isinstance(checks.check_now(organization, [SIMPLE], [(0, "1")]), Reply)


def test_the_process_ends_with_its_web_server() -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "ingestion.schemas.process", "5"]
    with subprocess.Popen(command, stdin=theirs.fileno(), cwd=settings.BASE_DIR) as process:
        theirs.close()
        send(ours, Question("a", [SIMPLE], [(0, '"x"')]))
        reply: Reply = receive(ours, Reply)
        assert reply.findings == [
            (FieldError(pointer="/data", code="type", detail='The value is not of type "integer"'),)
        ]
        if sys.platform == "linux":
            # Whatever a check takes, it is not the machine's memory, and leaves no dump.
            limits = psutil.Process(process.pid).rlimit
            assert 0 < limits(psutil.RLIMIT_DATA)[1] <= 512 << 20
            assert limits(psutil.RLIMIT_CORE)[1] == 0
        ours.close()
        assert process.wait() == 0


# What is compiled


def schemas(count: int) -> list[str]:
    return [json.dumps({"const": number}) for number in range(count)]


def test_compiled_schemas_have_a_bound_for_each_organization_and_for_all() -> None:
    one = CompiledSchemas()
    first = one.of("a", schemas(1)[0])
    size = one.bytes
    assert one.of("a", schemas(1)[0]) is first

    bounded = CompiledSchemas(each=3 * size, together=4 * size)
    kept = bounded.of("b", schemas(1)[0])
    for text in schemas(20):
        bounded.of("a", text)
    assert bounded.bytes <= 4 * size
    assert bounded.of("b", schemas(1)[0]) is kept
    for organization in "cdefg":
        for text in schemas(3):
            bounded.of(organization, text)
    assert bounded.bytes <= 4 * size
    assert bounded.of("b", schemas(1)[0]) is not kept


def test_a_schema_counts_by_its_patterns_and_its_length() -> None:
    plain = compile_schema(SIMPLE).size
    assert compile_schema(json.dumps({"pattern": ".{1,255}"})).size > plain + 500_000
    assert compile_schema(json.dumps({"enum": ["x" * 50] * 1000})).size > plain + 1_000_000


@pytest.mark.parametrize(
    "value",
    [
        {"enum": [{"a": {"b": [number]}} for number in range(500)]},
        {"enum": [number + 0.5 for number in range(500)]},
        {"enum": [[0] * 40 + [number] for number in range(300)]},
        {"const": [[0.5] * 200] * 10},
        {"allOf": [{"multipleOf": 0.01}] * 30},
    ],
)
def test_values_that_are_compared_deep_cost_what_they_take(value: Any) -> None:
    """At 21 KB an event of small arrays would have taken seconds."""
    text = json.dumps({"items": {"allOf": [value] * 5}})
    assert compile_schema(text).errors("[]") == ()
    with pytest.raises(SchemaError) as refused:
        compile_schema(text, to_be_saved=True)
    assert refused.value.code == "too_costly"


@pytest.mark.parametrize("pattern", ["[" * 30_000, "{" + "1" * 30_000, "{1" * 15_000, "[\\" * 15_000])
def test_what_is_no_pattern_is_refused_at_once(pattern: str) -> None:
    with pytest.raises(SchemaError):
        compile_schema(json.dumps({"pattern": pattern}))


# What tenants see


def test_events_over_the_time_are_refused_to_be_sent_again(tenant: Tenant, other_tenant: Tenant) -> None:
    for each in (tenant, other_tenant):
        put_in_force(each, "reject")
    assert tenant.post("/api/v1/events", {"type": NAME, "data": 1}).status_code == 202
    spend_all(tenant)
    refused = tenant.post("/api/v1/events", {"type": NAME, "data": 1})
    assert (refused.status_code, refused.json()["code"]) == (429, "cpu_time_spent")
    assert int(refused["Retry-After"]) > 0
    assert other_tenant.post("/api/v1/events", {"type": NAME, "data": 1}).status_code == 202

    batch = tenant.post("/api/v1/events/batch", [{"type": NAME, "data": 1}, {"type": "other", "data": 1}])
    assert batch.status_code == 202
    statuses = [(result["status"], result.get("error", {}).get("code")) for result in batch.json()["results"]]
    assert statuses == [("rejected", "cpu_time_spent"), ("accepted", None)]


def test_events_that_nobody_has_time_to_check_are_described_once_a_question(tenant: Tenant) -> None:
    """A thousand descriptions would hold up the intake as long as decoding the batch does."""
    put_in_force(tenant, "reject")
    spend_all(tenant)
    with mock.patch("ingestion.intake.pipeline.describe_problem", wraps=describe_problem) as described:
        answer = tenant.post("/api/v1/events/batch", [{"type": NAME, "data": 1}] * 100)
    assert answer.status_code == 422
    assert {result["error"]["code"] for result in answer.json()["results"]} == {"cpu_time_spent"}
    assert described.call_count == 2


def test_in_warn_mode_they_are_taken_and_marked(tenant: Tenant) -> None:
    put_in_force(tenant, "warn")
    spend_all(tenant)
    taken = tenant.post("/api/v1/events", {"type": NAME, "data": "x"})
    assert taken.status_code == 202
    assert [error["code"] for error in taken.json()["schema_errors"]] == ["unchecked"]
    shown = tenant.get(f"/api/v1/events/{taken.json()['id']}").json()
    assert [error["code"] for error in shown["schema_errors"]] == ["unchecked"]
    assert Event.objects.count() == 1


def test_schemas_are_saved_within_the_same_time(tenant: Tenant) -> None:
    spend_all(tenant)
    refused = tenant.post("/api/v1/event-types", {"name": NAME, "schema": {}})
    assert (refused.status_code, refused.json()["code"]) == (429, "cpu_time_spent")
    assert refused["Retry-After"]
    assert tenant.post("/api/v1/event-types", {"name": NAME}).status_code == 201


def test_schemas_in_force_have_a_bound_together(tenant: Tenant) -> None:
    large = {"description": "x" * 60_000}
    for number in range(MAX_SCHEMAS_CHARACTERS // 60_000 + 2):
        answer = tenant.post("/api/v1/event-types", {"name": f"t{number}", "schema": large, "validation": "warn"})
        if answer.status_code != 201:
            break
    assert answer.json()["errors"][0]["code"] == "too_many"
    assert tenant.post("/api/v1/event-types", {"name": "off", "schema": large}).status_code == 201


def test_a_batch_of_many_questions_has_its_answers_in_order(tenant: Tenant) -> None:
    Organization.objects.filter(pk=tenant.organization.pk).update(plan="enterprise")
    put_in_force(tenant, "reject")
    events = [{"type": NAME, "data": number if number % 3 else "x"} for number in range(200)]
    results = tenant.post("/api/v1/events/batch", events).json()["results"]
    assert [result["status"] for result in results] == [
        "accepted" if number % 3 else "rejected" for number in range(200)
    ]


def test_a_batch_of_bad_events_has_a_bounded_answer(tenant: Tenant) -> None:
    Organization.objects.filter(pk=tenant.organization.pk).update(plan="enterprise")
    wanted = {"name": NAME, "schema": {"items": {"type": "string"}}, "validation": "reject"}
    tenant.post("/api/v1/event-types", wanted)
    answer = tenant.post("/api/v1/events/batch", [{"type": NAME, "data": [1] * 30}] * 1000)
    assert answer.status_code == 422
    assert len(answer.content) < 1024 * 1024
    assert len(answer.json()["results"][0]["error"]["errors"]) == 20


def test_organizations_are_forgotten_when_they_have_all_their_time(checks: SchemaChecks, clock: Clock) -> None:
    for number in range(10_001):
        checks.budget.spend(UUID(int=number), 0.1)
        clock.now += 10
    assert len(checks.budget._left) < 100


# Large bodies


def test_what_decoding_takes_beyond_the_share_is_refused(tenant: Tenant, other_tenant: Tenant) -> None:
    """A plan of few events may still send large ones, and what its limit refuses was decoded before."""
    intake_budget.spend(tenant.organization.pk, 10.0)
    event = {"type": "t", "data": "x" * 40_000}
    for path, body in (("/api/v1/events", event), ("/api/v1/events/batch", [event])):
        refused = tenant.post(path, body)
        assert (refused.status_code, refused.json()["code"]) == (429, "cpu_time_spent")
        assert int(refused["Retry-After"]) > 0
        assert other_tenant.post(path, body).status_code == 202
    packed = gzip.compress(json.dumps(event).encode())
    refused = tenant.post("/api/v1/events", packed, **{"Content-Encoding": "gzip"})
    assert refused.json()["code"] == "cpu_time_spent"
    assert tenant.post("/api/v1/events", {"type": "t", "data": 1}).status_code == 202


def test_a_refused_batch_costs_time(tenant: Tenant) -> None:
    refused = tenant.post("/api/v1/events/batch", [{}] * 1000)
    assert refused.json()["code"] == "rate_limited"
    assert intake_budget.left(tenant.organization.pk) < SAVED_SECONDS


def test_a_large_batch_is_decoded_in_steps() -> None:
    event = b'{"type":"t","data":%s}' % (b"[" + b"1," * 20_000 + b"1]")
    for headers, body in (
        ({"content-type": "application/json"}, b"[" + b",".join([event] * 50) + b"]"),
        ({"content-type": "application/json"}, b"[" + b",".join([b"{}"] * 1000) + b"]"),
        ({"content-type": "application/x-ndjson"}, b"\n".join([event] * 50)),
    ):
        assert len(list(batch_steps(headers, body))) > 10


def test_no_step_takes_a_large_batch_apart_as_a_whole() -> None:
    """Its short numbers, each an object of its own, would be a hundred megabytes."""
    event = b'{"type":"t","data":%s}' % (b"[" + b"5, " * 2_000 + b"5]")
    body = b'{"events":[' + b",".join([event] * 800) + b"]}"
    tracemalloc.start()
    try:
        results = decode_batch({"content-type": "application/json"}, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(isinstance(result, DecodedEvent) for result in results)
    assert peak < 6 * len(body)


def test_members_that_come_again_are_not_looked_for_in_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which name is there twice takes a parser of Python's, and 40 times as long as all else."""
    lengths: list[int] = []
    monkeypatch.setattr(json, "loads", lambda body, **_: lengths.append(len(body)))
    data = b"[" + b"1," * 1_000_000 + b"1]"
    for body in (
        b'{"events":[],"events":[{"type":"t","data":%s}]}' % data,
        b'[{"type":"t","data":%s,"data":1}]' % data,
        b'[{"specversion":"1.0","id":"1","source":"/s","type":"t","data":%s,"data":1}]' % data,
    ):
        kind = "application/cloudevents-batch+json" if b"specversion" in body else "application/json"
        try:
            (result,) = decode_batch({"content-type": kind}, body)
        except Problem as problem:
            result = problem
        assert isinstance(result, Problem)
        assert {result.status_code, *(error.code for error in result.errors)} <= {413, 422, "repeated_field"}
    assert max(lengths, default=0) <= decoding.MAX_BODY_BYTES


def test_others_have_their_turn_between_two_steps(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0

    async def breathe() -> None:
        nonlocal turns
        turns += 1

    monkeypatch.setattr(views, "_PORTS", replace(views._PORTS, breathe=breathe))
    batch = [{"type": "t", "data": "x" * 60_000}] * 50
    assert tenant.post("/api/v1/events/batch", batch).json()["accepted"] == 50
    assert turns > 10
