"""Event types: their REST resource, the schemas that are taken, and the intake's view of them."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError, connection
from hypothesis import given
from hypothesis import strategies as st

from core.field_errors import MAX_ERRORS, MAX_QUOTED
from core.ports import SyncDatabase, run_now
from ingestion.formats.decoding import DecodedEvent
from ingestion.intake import validating
from ingestion.intake.validating import SchemaVerdict, check_events
from ingestion.models import EventType, Validation
from ingestion.operations import process_outbox
from ingestion.operations.event_types import MAX_SCHEMA_BYTES
from ingestion.schemas.catalogue import REFRESH_SECONDS, SchemaCatalogue
from ingestion.schemas.checking import schema_checks
from ingestion.schemas.compiling import MAX_COST, CompiledSchema, compile_schema
from ingestion.schemas.cost import MAX_CHAIN, states_of_pattern
from ingestion.schemas.parts import DIALECT, SchemaError
from organizations.models import AuditEntry
from tests.conftest import Tenant, make_tenant

SCHEMA = {
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "integer"}, "a/b~": {"type": "string"}},
    "additionalProperties": False,
}
NAME = "billing/invoice.paid"
INVOICE = {"name": NAME, "description": "Paid.", "schema": SCHEMA, "validation": "reject"}
PATH = f"/api/v1/event-types/{NAME}"


class Clock:
    """A monotonic clock that tests move."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def catalogue(clock: Clock) -> SchemaCatalogue:
    return SchemaCatalogue(clock)


def refresh(catalogue: SchemaCatalogue) -> None:
    run_now(catalogue.refresh(SyncDatabase()))


def verdict_on(catalogue: SchemaCatalogue, tenant: Tenant, name: str, data: str) -> SchemaVerdict | None:
    """What the intake makes of an event, by what this catalogue knows."""
    event = DecodedEvent(type=name, data=data, source=None, subject=None, time=None, idempotency_key=None)
    with mock.patch.object(validating, "schema_catalogue", catalogue):
        (verdict,) = run_now(check_events(schema_checks.check_directly, tenant.organization.pk, [event]))
    return verdict


def mode_of(verdict: SchemaVerdict | None) -> Validation | None:
    if verdict is None:
        return None
    return Validation.REJECT if verdict.problem else Validation.WARN


def patch(tenant: Tenant, body: Any, path: str = PATH) -> Any:
    return tenant.request("PATCH", path, body)


def compiled(schema: Any) -> CompiledSchema:
    return compile_schema(json.dumps(schema), to_be_saved=True)


def test_it_works(tenant: Tenant) -> None:
    created = tenant.post("/api/v1/event-types", INVOICE)
    assert created.status_code == 201
    shown = {**INVOICE, "format": "annotate", "first_seen_at": None, "last_seen_at": None, "count": 0}
    assert created.json() == shown
    assert tenant.get(PATH).json() == created.json()
    assert tenant.get("/api/v1/event-types").json() == {"data": [created.json()], "next_cursor": None}

    changed = patch(tenant, {"validation": "warn", "description": "Was paid."})
    assert changed.status_code == 200
    assert changed.json() == {**created.json(), "validation": "warn", "description": "Was paid."}
    assert patch(tenant, {"validation": "off", "schema": None}).json()["schema"] is None
    assert tenant.request("DELETE", PATH).status_code == 204
    assert tenant.get(PATH).status_code == 404
    assert tenant.get("/api/v1/event-types").json()["data"] == []

    entries = AuditEntry.objects.for_organization(tenant.organization.pk).filter(target_kind="eventtype")
    assert list(entries.order_by("id").values_list("action", "target_label")) == [
        ("event_type.created", NAME),
        ("event_type.updated", NAME),
        ("event_type.updated", NAME),
        ("event_type.deleted", NAME),
    ]


def test_a_seen_type_is_listed_by_itself_and_outlives_its_description(tenant: Tenant) -> None:
    for number in range(3):
        tenant.post("/api/v1/events", {"type": NAME, "data": number})
    process_outbox()
    shown = tenant.get(PATH).json()
    assert (shown["count"], shown["description"], shown["schema"], shown["validation"]) == (3, "", None, "off")
    assert shown["first_seen_at"] <= shown["last_seen_at"]
    assert tenant.post("/api/v1/event-types", INVOICE).status_code == 201
    assert tenant.get(PATH).json() == {**shown, **INVOICE}
    assert tenant.post("/api/v1/event-types", INVOICE).json()["code"] == "event_type_exists"
    assert tenant.request("DELETE", PATH).status_code == 204
    assert tenant.get(PATH).json() == shown


def test_processing_leaves_the_description_alone(tenant: Tenant) -> None:
    created = tenant.post("/api/v1/event-types", {**INVOICE, "validation": "warn"}).json()
    tenant.post("/api/v1/events", {"type": NAME, "data": {"amount": 1}})
    process_outbox()
    shown = tenant.get(PATH).json()
    assert shown["count"] == 1
    assert {key: shown[key] for key in INVOICE} == {key: created[key] for key in INVOICE}


def test_a_deleted_type_can_be_made_again_or_be_seen(tenant: Tenant) -> None:
    tenant.post("/api/v1/event-types", INVOICE)
    tenant.request("DELETE", PATH)
    assert patch(tenant, {"description": "x"}).status_code == 404
    assert tenant.request("DELETE", PATH).status_code == 404
    bare = tenant.post("/api/v1/event-types", {"name": NAME})
    assert (bare.status_code, bare.json()["schema"], bare.json()["validation"]) == (201, None, "off")
    assert tenant.get(PATH).status_code == 200

    tenant.request("DELETE", PATH)
    tenant.post("/api/v1/events", {"type": NAME, "data": 1})
    process_outbox()
    assert tenant.get(PATH).json()["schema"] is None
    assert patch(tenant, {"validation": "warn"}).status_code == 422


@pytest.mark.django_db(transaction=True)
def test_of_concurrent_creations_one_wins() -> None:
    tenant = make_tenant()

    def create(_: int) -> int:
        try:
            return int(tenant.post("/api/v1/event-types", {"name": "a"}).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(create, range(16))) == [201] + [409] * 15
    tenant.request("DELETE", "/api/v1/event-types/a")
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(create, range(16))) == [201] + [409] * 15


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_a_schema_is_looked_at(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Others may be before it, each for half a second."""
    settings.DATABASE_POOL_SIZE = 1
    held: list[object] = []
    tenant, look = make_tenant(), schema_checks._ask

    def look_and_tell(*given: Any) -> Any:
        held.append(connection.connection)
        return look(*given)

    monkeypatch.setattr(schema_checks, "_ask", look_and_tell)
    assert tenant.post("/api/v1/event-types", INVOICE).status_code == 201
    assert patch(tenant, {"schema": {}}).status_code == 200
    assert held == [None, None]


def test_another_tenant_has_types_of_its_own(tenant: Tenant, other_tenant: Tenant) -> None:
    tenant.post("/api/v1/event-types", INVOICE)
    for method in ("GET", "PATCH", "DELETE"):
        assert other_tenant.request(method, PATH, {"description": "x"}).status_code == 404
    assert other_tenant.get("/api/v1/event-types").json()["data"] == []
    assert other_tenant.post("/api/v1/event-types", {**INVOICE, "description": "Mine."}).status_code == 201
    assert tenant.get(PATH).json()["description"] == "Paid."


def test_changes_need_the_scope(db: None) -> None:
    reader = make_tenant(scopes=["events:read"])
    assert reader.get("/api/v1/event-types").status_code == 200
    assert reader.post("/api/v1/event-types", INVOICE).status_code == 403
    assert patch(reader, {"description": ""}).status_code == 403
    assert reader.request("DELETE", PATH).status_code == 403
    assert make_tenant(scopes=["subscriptions:manage"]).get("/api/v1/event-types").status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        ({}, 422, "required", "/name"),
        ({"name": ""}, 422, "invalid", "/name"),
        ({"name": "a b"}, 422, "invalid", "/name"),
        ({"name": "a" * 256}, 422, "invalid", "/name"),
        ({"name": "a", "colour": 1}, 422, "unknown_field", "/colour"),
        ({"name": "a", "description": "x" * 2001}, 422, "invalid", "/description"),
        ({"name": "a", "description": "\x00"}, 422, "nul_character", "/description"),
        ({"name": "a", "validation": "loud", "schema": {}}, 422, "invalid", "/validation"),
        ({"name": "a", "validation": "warn"}, 422, "needs_schema", "/validation"),
        ({"name": "a", "validation": "reject", "schema": None}, 422, "needs_schema", "/validation"),
        ({"name": "a", "schema": []}, 422, "invalid_schema", "/schema"),
        ({"name": "a", "schema": "{}"}, 422, "invalid_schema", "/schema"),
        ({"name": "a", "schema": {"type": "text"}}, 422, "invalid_schema", "/schema"),
        ({"name": "a", "schema": {"properties": {"x": {"minLength": -1}}}}, 422, "invalid_schema", "/schema"),
        ({"name": "a", "schema": {"pattern": "("}}, 422, "invalid_schema", "/schema"),
        ({"name": "a", "schema": {"pattern": "(?=a)(a+)+$"}}, 422, "invalid_schema", "/schema"),
        ({"name": "a", "schema": {"const": "\x00"}}, 422, "nul_character", "/schema"),
        ({"name": "a", "schema": {"$schema": "http://json-schema.org/draft-07/schema#"}},
         422, "unsupported_dialect", "/schema"),
        ({"name": "a", "schema": {"$ref": "#/$defs/none"}}, 422, "unknown_reference", "/schema"),
        ({"name": "a", "schema": {"$ref": "#none"}}, 422, "unknown_reference", "/schema"),
        ({"name": "a", "schema": {"$ref": "#/x", "x": {"allOf": 5}}}, 422, "unknown_reference", "/schema"),
        ({"name": "a", "schema": {"$ref": "#"}}, 422, "endless", "/schema"),
        ({"name": "a", "schema": {"$defs": {"x": {"$id": "http://x.example/%61"}}}}, 422, "unusual_id", "/schema"),
        ({"name": "a", "schema": {"$defs": {"x": {"$id": "http://x.example/a/../b"}}}}, 422, "unusual_id", "/schema"),
        ({"name": "a", "schema": {"$defs": {"x": {"$id": "a"}, "y": {"$id": "A"}}}}, 422, "duplicate_name", "/schema"),
        ({"name": "a", "schema": {"$anchor": "x", "items": {"$anchor": "x"}}}, 422, "duplicate_name", "/schema"),
        ({"name": "a", "schema": {"$defs": {"x": {"$id": "a", "$schema": "http://json-schema.org/draft-07/schema#"}}}},
         422, "unsupported_dialect", "/schema"),
        ({"name": "a", "schema": {"$ref": "#/x", "x": {"items": {"$id": "y"}}}}, 422, "unknown_reference", "/schema"),
        ({"name": "a", "format": "never"}, 422, "invalid", "/format"),
        (b'{"name": "a", "schema": ' + b"[" * 65 + b"]" * 65 + b"}", 422, "too_deep", "/schema"),
        (b'{"name": "a", "schema": {"const": 1e999}}', 422, "number_out_of_range", "/schema"),
        (b'{"name": "a", "schema": {"const": "\\ud800"}}', 400, "malformed_json", None),
        (b'{"name": "a", "schema": {"const": "\xff"}}', 400, "malformed_json", None),
        (b'{"name": "a", "schema": {', 400, "malformed_json", None),
        ({"name": "a", "schema": {"const": "x" * MAX_SCHEMA_BYTES}}, 413, "payload_too_large", None),
        ({"name": "a", "schema": {"const": "x" * 2 * MAX_SCHEMA_BYTES}}, 413, "payload_too_large", None),
    ],
)  # fmt: skip
def test_bad_input_is_named(tenant: Tenant, body: Any, status: int, code: str, pointer: str | None) -> None:
    answer = tenant.post("/api/v1/event-types", body)
    problem = answer.json()
    assert answer.status_code == status
    assert (problem["errors"][0]["code"] if pointer else problem["code"]) == code
    if pointer:
        assert problem["errors"][0]["pointer"] == pointer
    assert not EventType.objects.exists()


def test_a_wrong_schema_is_told_with_its_place(tenant: Tenant) -> None:
    answer = tenant.post("/api/v1/event-types", {"name": "a", "schema": {"properties": {"x/y": {"type": "text"}}}})
    detail = answer.json()["errors"][0]["detail"]
    assert "At /properties/x~1y/type: " in detail
    assert '"text"' in detail


@pytest.mark.parametrize(
    "reference", ["http://127.0.0.1:9/x", "https://example.com/x", "file:///etc/passwd", "other.json", DIALECT]
)
def test_a_remote_reference_is_refused_without_a_connection(tenant: Tenant, reference: str) -> None:
    schema = {"items": {"$ref": reference}}
    with mock.patch.object(socket.socket, "connect", side_effect=AssertionError), pytest.raises(SchemaError) as refused:
        compiled(schema)
    assert refused.value.code == "remote_reference"
    answer = tenant.post("/api/v1/event-types", {"name": "a", "schema": schema})
    assert answer.json()["errors"][0]["code"] == "remote_reference"


def test_taking_the_schema_of_a_type_in_force_is_refused(tenant: Tenant) -> None:
    tenant.post("/api/v1/event-types", INVOICE)
    answer = patch(tenant, {"schema": None})
    assert answer.json()["errors"][0]["pointer"] == "/validation"
    assert tenant.get(PATH).json()["schema"] == SCHEMA


def test_a_schema_keeps_its_numbers(tenant: Tenant) -> None:
    tenant.post("/api/v1/event-types", b'{"name": "a", "schema": {"const": 1.10, "maximum": 123456789012345678901}}')
    assert b'"schema":{"const": 1.10, "maximum": 123456789012345678901}' in tenant.get("/api/v1/event-types/a").content


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name=invoice.*", ["invoice.sent", "invoice.paid"]),
        ("name=invoice.paid", ["invoice.paid"]),
        ("name=*", ["order", "invoice.sent", "invoice.paid"]),
        ("name=none", []),
    ],
)
def test_lists_filter_by_name(tenant: Tenant, query: str, names: list[str]) -> None:
    for name in ("invoice.paid", "invoice.sent", "order"):
        tenant.post("/api/v1/event-types", {"name": name})
    listed = tenant.get(f"/api/v1/event-types?{query}").json()["data"]
    assert [event_type["name"] for event_type in listed] == names


def test_lists_page_while_types_arrive(tenant: Tenant) -> None:
    for number in range(5):
        tenant.post("/api/v1/event-types", {"name": f"t{number}"})
    seen: list[str] = []
    cursor = ""
    for arriving in ("x", "y", "z"):
        page = tenant.get(f"/api/v1/event-types?limit=2{cursor}").json()
        seen += [event_type["name"] for event_type in page["data"]]
        cursor = f"&cursor={page['next_cursor']}"
        tenant.post("/api/v1/event-types", {"name": arriving})
    assert seen == ["t4", "t3", "t2", "t1", "t0"]
    assert page["next_cursor"] is None
    assert tenant.get("/api/v1/event-types?cursor=forged").status_code == 400


# The catalogue


@pytest.mark.parametrize("mode", [Validation.WARN, Validation.REJECT])
def test_a_verdict_names_what_does_not_fit(tenant: Tenant, catalogue: SchemaCatalogue, mode: Validation) -> None:
    tenant.post("/api/v1/event-types", {**INVOICE, "validation": mode})
    refresh(catalogue)
    assert verdict_on(catalogue, tenant, NAME, '{"amount": 1}') is None
    verdict = verdict_on(catalogue, tenant, NAME, '{"amount": "much", "a/b~": 1, "more": 2}')
    assert verdict is not None
    assert mode_of(verdict) is mode
    assert {(error.pointer, error.code) for error in verdict.errors} == {
        ("/data/amount", "type"),
        ("/data/a~1b~0", "type"),
        ("/data", "additional_properties"),
    }
    assert all("^" not in error.detail for error in verdict.errors)
    missing = verdict_on(catalogue, tenant, NAME, "{}")
    assert missing is not None
    assert [(error.pointer, error.code) for error in missing.errors] == [("/data", "required")]
    assert '"amount"' in missing.errors[0].detail


def test_only_the_types_own_schema_is_in_force(
    tenant: Tenant, other_tenant: Tenant, catalogue: SchemaCatalogue
) -> None:
    tenant.post("/api/v1/event-types", INVOICE)
    tenant.post("/api/v1/event-types", {"name": "off", "schema": False})
    refresh(catalogue)
    assert verdict_on(catalogue, tenant, NAME, "1") is not None
    assert verdict_on(catalogue, tenant, "off", "1") is None
    assert verdict_on(catalogue, tenant, "billing/invoice.paid2", "1") is None
    assert verdict_on(catalogue, other_tenant, NAME, "1") is None


def test_a_verdict_is_bounded_and_does_not_repeat_the_data() -> None:
    secret = "s3cret" * 200
    errors = compiled({"items": {"type": "integer"}}).errors(json.dumps([secret] * 100))
    assert len(errors) == MAX_ERRORS
    assert not any("s3cret" in error.detail for error in errors)
    long = compiled({"required": ["y" * 5000], "properties": {"x" * 5000: False}}).errors(json.dumps({"x" * 5000: 1}))
    assert max(len(error.detail) for error in long) == MAX_QUOTED
    assert max(len(error.pointer) for error in long) == MAX_QUOTED


def test_a_change_is_in_force_after_the_refresh_interval(
    tenant: Tenant, catalogue: SchemaCatalogue, clock: Clock, django_assert_num_queries: Any
) -> None:
    def verdict() -> Validation | None:
        return mode_of(verdict_on(catalogue, tenant, NAME, "1"))

    def later() -> Validation | None:
        clock.now += REFRESH_SECONDS
        refresh(catalogue)
        return verdict()

    refresh(catalogue)
    tenant.post("/api/v1/event-types", INVOICE)
    with django_assert_num_queries(0):
        clock.now += REFRESH_SECONDS * 0.9
        refresh(catalogue)
    assert verdict() is None
    assert later() is Validation.REJECT
    patch(tenant, {"validation": "warn"})
    assert later() is Validation.WARN
    patch(tenant, {"schema": True})
    assert later() is None
    patch(tenant, {"schema": False})
    assert later() is Validation.WARN
    tenant.request("DELETE", PATH)
    assert later() is None
    tenant.post("/api/v1/event-types", INVOICE)
    assert later() is Validation.REJECT
    tenant.post("/api/v1/events", {"type": NAME, "data": {"amount": 1}})
    process_outbox()
    tenant.request("DELETE", PATH)
    assert later() is None


def test_a_change_that_is_committed_late_is_not_missed(
    tenant: Tenant, catalogue: SchemaCatalogue, clock: Clock
) -> None:
    tenant.post("/api/v1/event-types", {**INVOICE, "validation": "off"})
    refresh(catalogue)
    for seconds, expected in ((9, True), (3600, False)):
        clock.now += REFRESH_SECONDS
        refresh(catalogue)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE ingestion_eventtype"
                " SET validation = 'off', changed_at = clock_timestamp() - make_interval(hours => 9)"
            )
            catalogue.forget()
            refresh(catalogue)
            cursor.execute(
                "UPDATE ingestion_eventtype"
                " SET validation = 'warn', changed_at = clock_timestamp() - make_interval(secs => %s)",
                [seconds],
            )
        clock.now += REFRESH_SECONDS
        refresh(catalogue)
        assert bool(verdict_on(catalogue, tenant, NAME, "1")) is expected


class CountingDatabase:
    """Counts its statements; the first `failures` of them fail."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.statements: list[str] = []

    async def fetch(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        self.statements.append(statement)
        if len(self.statements) <= self.failures:
            raise OperationalError
        return []


def test_a_failed_refresh_is_tried_again_at_once(catalogue: SchemaCatalogue, clock: Clock) -> None:
    database = CountingDatabase(failures=1)
    for expected in (1, 2, 2):
        if expected == 1:
            with pytest.raises(OperationalError):
                run_now(catalogue.refresh(database))
        else:
            run_now(catalogue.refresh(database))
        assert len(database.statements) == expected
    clock.now += REFRESH_SECONDS
    broken = CountingDatabase(failures=1)
    with pytest.raises(OperationalError):
        run_now(catalogue.refresh(broken))
    run_now(catalogue.refresh(broken))
    assert len(broken.statements) == 2


def test_while_one_request_refreshes_the_others_go_on(catalogue: SchemaCatalogue, clock: Clock) -> None:
    run_now(catalogue.refresh(CountingDatabase()))
    clock.now += REFRESH_SECONDS
    others = CountingDatabase()

    class Meanwhile(CountingDatabase):
        async def fetch(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
            await catalogue.refresh(others)
            return await super().fetch(statement, parameters)

    first = Meanwhile()
    run_now(catalogue.refresh(first))
    assert (len(first.statements), len(others.statements)) == (1, 0)


def test_a_stored_schema_that_cannot_be_used_is_logged_and_ignored(
    tenant: Tenant, catalogue: SchemaCatalogue, caplog: pytest.LogCaptureFixture
) -> None:
    tenant.post("/api/v1/event-types", INVOICE)
    with connection.cursor() as cursor:
        cursor.execute("""UPDATE ingestion_eventtype SET schema = '{"type": "text"}'""")
    refresh(catalogue)
    for _ in range(2):
        assert verdict_on(catalogue, tenant, NAME, "1") is None
    assert [record.message for record in caplog.records if record.name == "ingestion.intake.validating"] == [
        "a stored schema cannot be used (invalid_schema) and is ignored"
    ]


BUNDLED = {
    "$id": "https://example.com/invoice",
    "properties": {"payer": {"$ref": "person"}, "kind": {"const": {"$id": "https://example.com/person"}}},
    "$defs": {
        "person": {
            "$id": "https://example.com/person",
            "properties": {"mail": {"$ref": "#mail"}, "friends": {"items": {"$ref": "person"}}},
            "$defs": {"mail": {"$anchor": "mail", "type": "string", "format": "email"}},
        }
    },
}


def test_parts_are_found_by_their_names_and_ids_in_data_are_data() -> None:
    schema = compiled(BUNDLED)
    assert schema.errors('{"payer": {"mail": "nobody", "friends": [{"mail": "a"}]}}') == ()
    (error,) = schema.errors('{"payer": {"friends": [{"mail": 5}]}}')
    assert error.pointer == "/data/payer/friends/0/mail"
    assert schema.errors('{"kind": {"$id": "https://example.com/person"}}') == ()


def test_formats_are_asserted_for_a_type_that_says_so(tenant: Tenant, catalogue: SchemaCatalogue) -> None:
    tenant.post("/api/v1/event-types", {"name": NAME, "schema": BUNDLED, "validation": "reject"})
    data = '{"payer": {"mail": "nobody"}}'
    refresh(catalogue)
    assert verdict_on(catalogue, tenant, NAME, data) is None
    answer = patch(tenant, {"format": "assert"})
    assert (answer.status_code, answer.json()["format"]) == (200, "assert")
    catalogue.forget()
    refresh(catalogue)
    verdict = verdict_on(catalogue, tenant, NAME, data)
    assert verdict is not None
    assert [(error.pointer, error.code) for error in verdict.errors] == [("/data/payer/mail", "format")]
    assert verdict_on(catalogue, tenant, NAME, '{"payer": {"mail": "a@example.com"}}') is None
    tenant.request("DELETE", PATH)
    assert tenant.post("/api/v1/event-types", {"name": NAME}).json()["format"] == "annotate"


# What a schema may cost


def bundled(times: int) -> dict[str, Any]:
    """As `branching`, by names: each part applies the next eight times."""
    parts = {f"p{n}": {"$id": f"p{n}", "anyOf": [{"not": {"$ref": f"p{n + 1}"}}] * 8} for n in range(times)}
    return {"$ref": "p0", "$defs": {**parts, "end": {"$id": f"p{times}", "type": "string"}}}


def dynamic(times: int) -> dict[str, Any]:
    """Which of the anchors is meant depends on the way."""
    parts = {f"p{n}": {"$id": f"p{n}", "$dynamicAnchor": "a", "type": "string"} for n in range(times)}
    return {"$ref": "p0", "$defs": parts, "items": {"allOf": [{"$dynamicRef": "p0#a"}] * times}}


def branching(times: int, branches: int) -> dict[str, Any]:
    """Applies its last part branches^times times to one value."""
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    for number in range(times):
        definitions[f"d{number + 1}"] = {"anyOf": [{"not": {"$ref": f"#/$defs/d{number}"}}] * branches}
    return {"$ref": f"#/$defs/d{times}", "$defs": definitions}


def left_overs(times: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"properties": {"a": {}}}
    for _ in range(times):
        schema = {"allOf": [schema], "unevaluatedProperties": False}
    return schema


def chain(length: int) -> dict[str, Any]:
    definitions: dict[str, Any] = {f"c{n}": {"$ref": f"#/$defs/c{n + 1}"} for n in range(length)}
    return {"$ref": "#/$defs/c0", "$defs": {**definitions, f"c{length}": {"items": {"$ref": "#"}}}}


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        (branching(11, 2), "too_deep"),
        (branching(8, 8), "too_costly"),
        (left_overs(15), "too_costly"),
        (bundled(8), "too_costly"),
        (dynamic(500), "too_complex"),
        (chain(MAX_CHAIN), "too_deep"),
        (chain(1500), "too_deep"),
        ({"properties": {f"p{n}": {"$ref": "#"} for n in range(2500)}}, "too_complex"),
        ({"pattern": "(a{1000}){1000}"}, "too_costly"),
        ({"pattern": "a{99999999999}"}, "too_costly"),
        ({"pattern": r"\p{L}{1,90}"}, "invalid_schema"),
        ({"allOf": [{"pattern": f"[01]{{900}}{n}"} for n in range(1500)]}, "too_costly"),
        ({"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"not": {"$ref": "#"}}}}, "endless"),
    ],
)
def test_a_schema_that_could_hold_the_intake_up_is_refused(schema: dict[str, Any], code: str) -> None:
    with pytest.raises(SchemaError) as refused:
        compiled(schema)
    assert refused.value.code == code


def test_data_that_would_take_too_long_is_not_checked() -> None:
    """One schema can be quick for small and endless for deep data, so what counts is both together."""
    schema = compiled({"items": {"anyOf": [{"not": {"$ref": "#"}}, {"$ref": "#"}]}})
    assert schema.errors("[[1]]") == ()
    assert [error.code for error in schema.errors("[" * 60 + "]" * 60)] == ["too_costly"]
    choices = compiled({"items": {"enum": [{"a": n} for n in range(150)]}})
    assert choices.errors('[{"a": 149}]') == ()
    assert [error.code for error in choices.errors(json.dumps([{"a": 149}] * 20_000))] == ["too_costly"]


def test_an_error_that_is_dear_to_tell_is_told_in_short() -> None:
    operation = {"properties": {"of": {"$ref": "#"}}, "required": ["of"]}
    schema = compiled({"oneOf": [{"type": "integer"}, operation, operation]})
    data = '{"of": ' * 15 + '"x"' + "}" * 15
    assert schema.cost.of(data, json.loads(data)) < MAX_COST
    assert [(error.pointer, error.code) for error in schema.errors(data)] == [("/data", "invalid")]
    long = compiled({"items": {"type": "string"}}).errors(json.dumps(list(range(20_000))))
    assert [(error.pointer, error.code) for error in long] == [("/data/0", "type")]


def test_a_catastrophic_pattern_is_linear_here() -> None:
    assert compiled({"pattern": "^(a+)+$"}).errors(json.dumps("a" * 200_000 + "b"))[0].code in {"pattern", "invalid"}


def test_ordinary_schemas_are_cheap() -> None:
    """Recursion over names that differ costs no more than one level of it."""
    tree = {
        "type": "object",
        "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "value": {"type": "integer"}},
        "additionalProperties": False,
    }
    condition = {
        "$id": "https://example.com/condition",
        "$schema": DIALECT,
        "oneOf": [
            {"properties": {"and": {"items": {"$ref": "#top"}}}, "required": ["and"], "additionalProperties": False},
            {"properties": {"or": {"items": {"$ref": "#"}}}, "required": ["or"], "additionalProperties": False},
            {"$ref": "https://example.com/condition#/$defs/field"},
        ],
        "$defs": {"field": {"required": ["field"], "properties": {"field": {"pattern": "^[a-z.]{1,255}$"}}}},
        "$anchor": "top",
    }
    for schema in (tree, condition):
        assert max(compiled(schema).cost.steps) < 30
    data: Any = {"field": "a"}
    for _ in range(10):
        data = {"and": [data, {"or": [data]}]}
    assert compiled(condition).errors(json.dumps(data)) == ()


@pytest.mark.parametrize(
    ("pattern", "states"),
    [
        ("abc", 3), ("^a+$", 1), (r"\w{5}", 5), ("[a{9}]{3,7}", 7), ("(ab{3}){2}", 8), ("((a{3}){3}){3}", 27),
        (")a{2}(", 3),
    ],
)  # fmt: skip
def test_repetitions_are_written_out(pattern: str, states: int) -> None:
    assert states_of_pattern(pattern) == 1 + states


_NAMES = st.sampled_from(
    ["allOf", "items", "properties", "$ref", "not", "prefixItems", "enum", "pattern", "$defs", "x", "$anchor", "type"]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["#", "#/$defs/x", "#/x", "string", "a{2}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(schema=_VALUES, data=_VALUES)
def test_whatever_is_sent_is_a_schema_or_refused(schema: Any, data: Any) -> None:
    try:
        ready = compiled(schema)
    except SchemaError:
        return
    assert all(error.pointer.startswith("/data") for error in ready.errors(json.dumps(data)))
