"""The way of an event: accepted over REST, processed, in the inbox, acknowledged."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from core.ports import SyncDatabase, run_now
from delivery.models import Delivery, Subscription
from ingestion.formats.decoding import DecodedEvent
from ingestion.intake.storing import Incoming, store
from ingestion.models import Event, EventType, HourlyStat, OutboxEntry, ProcessingFailure
from ingestion.operations import process, process_outbox, remove_expired_idempotency_keys, retry_failed
from ingestion.operations.process import StoredEvent, event_handlers
from tests.conftest import Tenant, make_tenant
from tests.factories import inbox_of, make_organization

EVENT = {"type": "invoice.paid", "data": {"amount": 12900}, "source": "/billing", "subject": "inv_1"}


def test_it_works(tenant: Tenant) -> None:
    sent = tenant.post("/api/v1/events", EVENT)
    assert sent.status_code == 202
    assert sent.json()["status"] == "accepted"
    assert not sent.json()["duplicate"]
    assert tenant.get("/api/v1/events").json()["data"][0]["status"] == "accepted"

    assert process_outbox() == 1
    event_id = sent.json()["id"]
    shown = tenant.get(f"/api/v1/events/{event_id}").json()
    assert shown["status"] == "processed"
    assert shown["data"] == EVENT["data"]
    inbox = tenant.get("/api/v1/inbox").json()
    assert [event["id"] for event in inbox["data"]] == [event_id]

    acked = tenant.post("/api/v1/inbox/ack", {"event_ids": [event_id]}).json()
    assert acked == {"acknowledged": [event_id], "already_acknowledged": [], "stale": [], "unknown": []}
    again = tenant.post("/api/v1/inbox/ack", {"event_ids": [event_id]}).json()
    assert again["already_acknowledged"] == [event_id]
    assert tenant.get("/api/v1/inbox").json()["data"] == []
    assert len(tenant.get("/api/v1/inbox?status=delivered").json()["data"]) == 1


def test_processing_counts_and_catalogues_once(tenant: Tenant) -> None:
    inbox_of(tenant.organization)
    for _ in range(3):
        tenant.post("/api/v1/events", EVENT)
    assert process_outbox() == 3
    assert process_outbox() == 0
    assert EventType.objects.get(organization=tenant.organization).count == 3
    assert HourlyStat.objects.get(organization=tenant.organization).count == 3
    assert Delivery.objects.count() == 3


def test_same_idempotency_key_returns_the_first_event(tenant: Tenant) -> None:
    first = tenant.post("/api/v1/events", {**EVENT, "idempotency_key": "k"})
    second = tenant.post("/api/v1/events", EVENT, **{"Idempotency-Key": "k"})
    assert (first.status_code, second.status_code) == (202, 200)
    assert second.json()["duplicate"]
    assert second.json()["id"] == first.json()["id"]
    assert second.json()["received_at"] == first.json()["received_at"]


def test_reused_idempotency_key_conflicts(tenant: Tenant) -> None:
    tenant.post("/api/v1/events", {**EVENT, "idempotency_key": "k"})
    other = tenant.post("/api/v1/events", {**EVENT, "data": 1, "idempotency_key": "k"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert Event.objects.count() == 1


def test_an_expired_idempotency_key_is_free_again(tenant: Tenant) -> None:
    tenant.post("/api/v1/events", {**EVENT, "idempotency_key": "k"})
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ingestion_idempotencykey SET expires_at = now() - interval '1 s'")
    assert tenant.post("/api/v1/events", {**EVENT, "data": 2, "idempotency_key": "k"}).status_code == 202
    assert remove_expired_idempotency_keys() == 0
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ingestion_idempotencykey SET expires_at = now() - interval '1 s'")
    assert remove_expired_idempotency_keys() == 1


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_with_one_key_store_one_event() -> None:
    tenant = make_tenant()

    def send(_: int) -> tuple[int, str]:
        try:
            answer = tenant.post("/api/v1/events", {**EVENT, "idempotency_key": "k"})
            return answer.status_code, answer.json()["id"]
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(32)))
    assert sorted(status for status, _ in answers) == [200] * 31 + [202]
    assert len({event_id for _, event_id in answers}) == 1
    assert Event.objects.count() == 1


def test_an_event_that_cannot_be_processed_is_kept_and_blocks_no_other(tenant: Tenant) -> None:
    for number in range(3):
        tenant.post("/api/v1/events", {**EVENT, "data": number})
    poison = Event.objects.get(data_text="1")

    def handler(events: list[StoredEvent]) -> None:
        if any(event.id == poison.pk for event in events):
            raise ValueError("no")

    with mock.patch.object(event_handlers, "functions", [handler]):
        process_outbox()
    assert not OutboxEntry.objects.exists()
    failure = ProcessingFailure.objects.get()
    assert (failure.event_id, failure.error, failure.attempts) == (poison.pk, "ValueError: no", 1)
    failed = tenant.get("/api/v1/events?status=failed").json()["data"]
    assert [event["id"] for event in failed] == [str(poison.pk)]
    assert len(tenant.get("/api/v1/events?status=processed").json()["data"]) == 2

    assert failure.next_attempt_at is not None
    assert retry_failed() == 0
    assert retry_failed(now=failure.next_attempt_at) == 1
    assert tenant.get(f"/api/v1/events/{poison.pk}").json()["status"] == "processed"


def test_retries_have_a_limit(tenant: Tenant, settings: Any) -> None:
    settings.PROCESSING_MAX_ATTEMPTS = 2
    tenant.post("/api/v1/events", EVENT)
    with mock.patch.object(event_handlers, "functions", [mock.Mock(side_effect=ValueError)]):
        process_outbox()
        retry_failed(now=ProcessingFailure.objects.get().next_attempt_at)
    failure = ProcessingFailure.objects.get()
    assert (failure.attempts, failure.next_attempt_at) == (2, None)
    assert tenant.get("/api/v1/events").json()["data"][0]["status"] == "failed"


def test_trouble_of_the_database_leaves_events_in_the_outbox(tenant: Tenant) -> None:
    tenant.post("/api/v1/events", EVENT)
    with (
        mock.patch.object(event_handlers, "functions", [mock.Mock(side_effect=OperationalError)]),
        pytest.raises(OperationalError),
    ):
        process_outbox()
    assert OutboxEntry.objects.count() == 1
    assert not ProcessingFailure.objects.exists()


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b"{", 400, "malformed_json", None),
        (b'\xff{"type":"a"}', 400, "malformed_json", None),
        (b'{"type":"a"}', 422, "required", "/data"),
        (b'{"type":"a","data":1,"colour":2}', 422, "unknown_field", "/colour"),
        (b'{"type":"a","data":1,"type":"b"}', 422, "repeated_field", "/type"),
        (b'{"type":"a","data":1,"d\\u0061ta":2}', 422, "repeated_field", "/data"),
        (b'{"type":"a b","data":1}', 422, "invalid", "/type"),
        (b'{"type":"a","data":1,"time":"yesterday"}', 422, "invalid", "/time"),
        (b'{"type":"a","data":"\\u0000"}', 422, "nul_character", "/data"),
        (b'{"type":"a","data":1,"subject":"\\u0000"}', 422, "nul_character", "/subject"),
        (b'{"type":"a","data":"\\ud800x"}', 400, "malformed_json", None),
        (b'{"type":"a","data":"\\udc00"}', 400, "malformed_json", None),
        (b'{"type":"a","data":1e999999}', 422, "number_out_of_range", "/data"),
        (b'{"type":"a","data":' + b"9" * 1000 + b"}", 422, "number_out_of_range", "/data"),
        (b'{"type":"a","data":' + b"[" * 65 + b"]" * 65 + b"}", 422, "too_deep", "/data"),
        (b'{"type":"a","data":' + b"[" * 9000 + b"]" * 9000 + b"}", 400, "malformed_json", None),
        (b'{"type":"a","data":"' + b"x" * 262_144 + b'"}', 413, "payload_too_large", None),
    ],
)
def test_bad_input_is_named(tenant: Tenant, body: bytes, status: int, code: str, pointer: str | None) -> None:
    answer = tenant.post("/api/v1/events", body)
    problem = answer.json()
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    assert (problem["errors"][0]["code"] if pointer else problem["code"]) == code
    if pointer:
        assert problem["errors"][0]["pointer"] == pointer
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b'"\\ud83d\\ude00"',
        b"[" * 64 + b"]" * 64,
        b'{"type":1,"data":{"data":2}}',
        b"1e308",
        b'"\\\\u0000"',
    ],
)
def test_any_json_value_is_data(tenant: Tenant, data: bytes) -> None:
    answer = tenant.post("/api/v1/events", b'{"type": "a", "data": %s}' % data)
    assert answer.status_code == 202, answer.content


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json; charset=utf-16", "application/x-www-form-urlencoded"]
)
def test_other_content_types_are_refused(tenant: Tenant, content_type: str) -> None:
    answer = tenant.client.generic(
        "POST", "/api/v1/events", b"{}", content_type=content_type, headers={"X-API-Key": tenant.plaintext}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_lists_page_with_a_stable_cursor(tenant: Tenant) -> None:
    ids = [tenant.post("/api/v1/events", {**EVENT, "data": n}).json()["id"] for n in range(5)]
    first = tenant.get("/api/v1/events?limit=2").json()
    tenant.post("/api/v1/events", EVENT)  # arrives between two pages
    second = tenant.get(f"/api/v1/events?limit=2&cursor={first['next_cursor']}").json()
    third = tenant.get(f"/api/v1/events?limit=2&cursor={second['next_cursor']}").json()
    seen = [event["id"] for page in (first, second, third) for event in page["data"]]
    assert seen == ids[::-1]
    assert third["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("cursor=forged", 400), ("cursor=", 400), ("limit=0", 422), ("limit=1001", 422), ("limit=x", 422),
        ("colour=red", 422), ("status=gone", 422), ("received_after=now", 422), ("type=%00", 422),
        ("type=", 422), ("source=", 422), ("subject=", 422), ("received_before=", 422), ("status=", 422),
        ("limit=1&limit=2", 422),
    ],
)  # fmt: skip
def test_bad_parameters_are_refused(tenant: Tenant, query: str, status: int) -> None:
    assert tenant.get(f"/api/v1/events?{query}").status_code == status


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("type=invoice.*", 2), ("type=invoice.paid", 1), ("type=*", 3), ("source=/billing", 1), ("subject=inv_1", 1),
        ("received_before=2020-01-01T00:00:00Z", 0), ("received_after=2020-01-01T00:00:00Z", 3), ("status=accepted", 3),
    ],
)  # fmt: skip
def test_lists_filter(tenant: Tenant, query: str, count: int) -> None:
    tenant.post("/api/v1/events", EVENT)
    tenant.post("/api/v1/events", {"type": "invoice.sent", "data": 1})
    tenant.post("/api/v1/events", {"type": "order", "data": 1})
    assert len(tenant.get(f"/api/v1/events?{query}").json()["data"]) == count


def test_an_ack_tells_unknown_events_and_inboxes(tenant: Tenant) -> None:
    unknown = "01900000-0000-7000-8000-000000000000"
    assert tenant.post("/api/v1/inbox/ack", {"event_ids": [unknown]}).json()["unknown"] == [unknown]
    assert tenant.get("/api/v1/inbox?inbox=none").status_code == 404
    assert tenant.get("/api/v1/inbox?status=none").status_code == 422
    assert tenant.post("/api/v1/inbox/ack", {"event_ids": []}).status_code == 422


def test_a_batch_costs_a_few_statements_however_many_its_events_are(tenant: Tenant) -> None:
    def statements(events: int) -> list[str]:
        for number in range(events):
            assert tenant.post("/api/v1/events", {**EVENT, "data": number}).status_code == 202
        with CaptureQueriesContext(connection) as asked:
            assert process_outbox() == events
        return [query["sql"] for query in asked if "SAVEPOINT" not in query["sql"]]

    inbox_of(tenant.organization)
    statements(1)  # the organization and its types become known
    Subscription.objects.update(changed_at=timezone.now() - timedelta(hours=1))  # else it is read again and again
    statements(1)
    assert len(statements(1)) == len(statements(30)) == 4  # claim, what changed, deliveries, counts


def test_what_a_batch_that_was_taken_back_had_made_is_made_again(tenant: Tenant) -> None:
    """The inbox `default` of a new organization is made with its first events."""
    assert tenant.post("/api/v1/events", EVENT).status_code == 202
    handlers = [*event_handlers.functions, mock.Mock(side_effect=OperationalError)]
    with mock.patch.object(event_handlers, "functions", handlers), pytest.raises(OperationalError):
        process_outbox()
    assert not Subscription.objects.for_organization(tenant.organization.pk).exists()
    assert process_outbox() == 1
    inbox = Subscription.objects.for_organization(tenant.organization.pk).get()
    assert tenant.get("/api/v1/inbox").status_code == 200
    assert tenant.post("/api/v1/events", EVENT).status_code == 202
    assert process_outbox() == 1
    assert set(Delivery.objects.values_list("subscription", flat=True)) == {inbox.pk}


@pytest.mark.django_db(transaction=True)
def test_one_event_does_not_wait_for_a_thousand_of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "EVENTS_PER_BATCH", 60)
    organization = make_organization()

    def send(count: int) -> None:
        event = DecodedEvent(type="a", data="1", source=None, subject=None, time=None, idempotency_key=None)
        run_now(store(SyncDatabase(), [Incoming(organization.pk, event) for _ in range(count)]))

    send(60)
    send(1)
    send(1)
    assert [process_outbox(batches=1) for _ in range(3)] == [2, 60, 0]
    # Many small ones keep a large one from its turn for a second at most.
    send(60)
    OutboxEntry.objects.update(created_at=timezone.now() - timedelta(seconds=2))
    send(1)
    assert [process_outbox(batches=1) for _ in range(3)] == [60, 1, 0]
    # Nor does the clock of its host.
    send(60)
    OutboxEntry.objects.update(created_at=timezone.now() + timedelta(minutes=5))
    send(1)
    assert [process_outbox(batches=1) for _ in range(2)] == [61, 0]
