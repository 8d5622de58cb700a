"""Answers are bounded by bytes before PostgreSQL hands them over, and a process holds a portion of one at a time."""

import asyncio
import gc
import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from console.exports.jobs import PART_BYTES, run_exports
from console.models import Export, ExportFormat, ExportStatus
from core.postgresql import portions
from core.postgresql.arrays import uuid_array
from core.postgresql.lending import drop
from core.postgresql.portions import own_columns, read_portion
from delivery.api.attempts import EXCERPT_LENGTH, MAX_RESPONSES
from delivery.models import Attempt, Delivery, Replay, Subscription, SubscriptionKind
from delivery.operations import default_inboxes
from ingestion.models import LARGE, Event, EventType
from ingestion.operations import process_outbox
from organizations.jobs.models import JobStatus
from organizations.models import Organization
from rest import large_answers
from rest.doors.shares import Budget
from rest.large_answers import MAX_BYTES, Slot
from tests.conftest import Tenant, make_tenant
from tests.factories import inbox_of
from tests.support.servers import serve

KIB = 1024
# 1.2 KB as it is sent, 62 KB as PostgreSQL shows it.
LONG_NUMBERS = "[" + ",".join(["1e308"] * 200) + "]"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of 20 kB, in portions of 4 kB."""
    monkeypatch.setattr(large_answers, "MAX_BYTES", 20_000)
    monkeypatch.setattr(large_answers, "PORTION_BYTES", 4_000)


def make_events(organization: Organization, count: int, data: str, *, column: str = "data_text") -> list[UUID]:
    """Newest first; as processed. `data` is JSON, which PostgreSQL takes as it is."""
    ids = [uuid7() for _ in range(count)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO ingestion_event (id, organization_id, type, {column}, received_at, batch_id)"
            " SELECT id, %s, 'a', %s, %s, %s FROM unnest(%s::uuid[]) AS id",
            [organization.pk, data, timezone.now(), uuid7(), uuid_array(ids)],
        )
    return sorted(ids, reverse=True)


def pages(tenant: Tenant, path: str) -> Iterator[tuple[int, list[Any]]]:
    """The size of each page and what it lists, to the end."""
    cursor = ""
    while cursor is not None:
        body = b"".join(tenant.get(f"{path}&cursor={cursor}" if cursor else path))
        page = json.loads(body)
        yield len(body), page["data"]
        cursor = page["next_cursor"]


# --- Lists -----------------------------------------------------------------------------------------------------------


def event_rows(organization: Organization) -> str:
    make_events(organization, 40, json.dumps("x" * 1_000))
    return "/api/v1/events?limit=1000"


def inbox_rows(organization: Organization) -> str:
    ids = make_events(organization, 40, json.dumps("x" * 1_000))
    inbox = inbox_of(organization)
    now = timezone.now()
    Delivery.objects.bulk_create(
        Delivery(
            id=uuid7(),
            organization=organization,
            subscription_id=inbox,
            event_id=pk,
            status="pending",
            created_at=now,
            next_attempt_at=now,
        )
        for pk in reversed(ids)
    )
    return "/api/v1/inbox?limit=1000"


def type_rows(organization: Organization) -> str:
    schema = json.dumps({"title": "x" * 1_000})
    for number in range(40):
        EventType.objects.create(organization=organization, name=f"t{number}", schema=json.loads(schema))
    return "/api/v1/event-types?limit=1000"


def subscription_rows(organization: Organization) -> str:
    wanted = {"data.a": {"in": ["x" * 100] * 10}}
    Subscription.objects.bulk_create(
        Subscription(organization=organization, kind=SubscriptionKind.INBOX, name=f"i{number}", filter=wanted)
        for number in range(40)
    )
    return "/api/v1/subscriptions?limit=1000"


def replay_rows(organization: Organization) -> str:
    inbox = default_inboxes([organization.pk])[organization.pk]
    now = timezone.now()
    Replay.objects.bulk_create(
        Replay(
            organization=organization,
            subscription_id=inbox,
            received_after=now,
            received_before=now,
            event_types=["x" * 100] * 10,
            status=JobStatus.DONE,
            total=0,
        )
        for _ in range(40)
    )
    return "/api/v1/replays?limit=1000"


@pytest.mark.parametrize("make", [event_rows, inbox_rows, type_rows, subscription_rows, replay_rows])
def test_a_list_cuts_its_page_by_bytes_and_goes_on(
    tenant: Tenant, small: None, make: Callable[[Organization], str]
) -> None:
    found = list(pages(tenant, make(tenant.organization)))
    sizes, rows = [size for size, _ in found], [row for _, data in found for row in data]
    assert len(found) > 2
    assert max(sizes) <= 20_200
    assert all(size > 15_000 for size in sizes[:-1])
    ids = [row.get("id") or row["name"] for row in rows]
    assert len(ids) == len(set(ids)) >= 40
    if "id" in rows[0]:
        assert ids == sorted(ids, reverse=True)


def test_rows_that_came_first_stay_first_whatever_their_size(tenant: Tenant, small: None) -> None:
    ids = [
        pk
        for size in (10, 30_000, 10, 3_900, 3_900, 10, 30_000)
        for pk in make_events(tenant.organization, 1, json.dumps("x" * size))
    ]
    found = list(pages(tenant, "/api/v1/events?limit=4"))
    assert [row["id"] for _, data in found for row in data] == [str(pk) for pk in reversed(ids)]
    assert all(data for _, data in found)


@pytest.mark.parametrize(("column", "fitting"), [("data", range(6, 9)), ("data_text", range(50, 51))])
def test_a_page_is_measured_as_postgresql_shows_it(tenant: Tenant, column: str, fitting: range) -> None:
    """A number of jsonb is stored in a 26th of what it takes on its way here, where it becomes short again."""
    make_events(tenant.organization, 60, LONG_NUMBERS, column=column)
    rows = Event.objects.for_organization(tenant.organization.pk)
    portion = read_portion(rows, LARGE, count=50, size=500_000)
    assert len(portion.rows) in fitting
    assert portion.is_cut is (len(fitting) > 1)
    assert sum(len(event.data) for event in portion.rows) < 1_500 * len(portion.rows)


def test_a_row_larger_than_a_portion_comes_alone(tenant: Tenant) -> None:
    made = make_events(tenant.organization, 2, json.dumps("x" * 2_000))
    rows = Event.objects.for_organization(tenant.organization.pk)
    portion = read_portion(rows, LARGE, count=50, size=1_000)
    assert [(event.pk, len(event.data)) for event in portion.rows] == [(max(made), 2_002)]
    assert portion.is_cut
    assert read_portion(rows.none(), own_columns("data_text"), count=50, size=1_000).rows == []


@pytest.mark.django_db(transaction=True)
def test_whoever_waits_for_its_turn_with_such_a_row_holds_no_connection(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Who has the turn may need one: with all of them held by those who wait, nobody would go on."""
    held: list[object] = []

    @contextmanager
    def turn() -> Iterator[None]:
        held.append(connection.connection)
        yield

    settings.DATABASE_POOL_SIZE = 1
    monkeypatch.setattr(portions, "_one_at_a_time", turn())
    organization = make_tenant().organization
    made = make_events(organization, 1, json.dumps("x" * 2_000))
    rows = Event.objects.for_organization(organization.pk)
    assert [event.pk for event in read_portion(rows, LARGE, count=50, size=1_000).rows] == made
    assert held == [None]


@pytest.mark.django_db(transaction=True)
def test_the_connection_that_took_a_large_row_is_closed(settings: Any) -> None:
    settings.DATABASE_POOL_SIZE = 1
    connection.ensure_connection()
    raw: Any = connection.connection
    drop()
    assert raw.closed
    assert connection.connection is None


def test_an_answer_is_in_memory_by_portions(tenant: Tenant) -> None:
    """Some 15 MiB of it pass through 5 MiB at most."""
    make_events(tenant.organization, 60, json.dumps("x" * 250 * KIB))
    tenant.get("/api/v1/events?limit=1")
    gc.collect()
    tracemalloc.start()
    try:
        answer = tenant.get("/api/v1/events?limit=100")
        assert answer.status_code == 200, answer.content
        size = sum(len(chunk) for chunk in answer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 14 * 1024 * KIB < size <= MAX_BYTES
    assert peak < 5 * 1024 * KIB


def test_a_small_page_is_whole_and_costs_one_statement(tenant: Tenant) -> None:
    make_events(tenant.organization, 50, "1")
    tenant.get("/api/v1/events")
    with CaptureQueriesContext(
        connection,
    ) as captured:
        answer = tenant.get("/api/v1/events")
    assert not answer.streaming
    assert len([query for query in captured if "ingestion_event" in query["sql"]]) == 1
    assert len(answer.json()["data"]) == 50
    assert answer.json()["next_cursor"] is None


@pytest.mark.parametrize(
    ("asked", "is_packed"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("*", True), ("gzip;q=0", False), ("gzip; q=0.0, br", False),
     ("identity", False), ("x-gzipped", False), ("", False)],
)  # fmt: skip
def test_a_list_is_compressed_for_who_asks(tenant: Tenant, small: None, asked: str, is_packed: bool) -> None:
    plain = tenant.get(event_rows(tenant.organization))
    answer = tenant.get("/api/v1/events?limit=1000", **{"Accept-Encoding": asked})
    sent = b"".join(answer)
    assert answer.streaming
    assert answer.get("Content-Encoding") == ("gzip" if is_packed else None)
    assert answer["Vary"] == "Accept-Encoding"
    unpacked = gzip.decompress(sent) if is_packed else sent
    assert json.loads(unpacked)["data"] == json.loads(b"".join(plain))["data"]
    assert len(sent) * 5 < len(unpacked) or not is_packed
    whole = tenant.get("/api/v1/organization", **{"Accept-Encoding": asked})
    assert "Content-Encoding" not in whole


# --- Slots -----------------------------------------------------------------------------------------------------------


def test_without_a_slot_a_page_ends_with_its_portion(
    tenant: Tenant, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_answers, "_slots", Budget(total=0, share=0))
    found = list(pages(tenant, event_rows(tenant.organization)))
    assert max(size for size, _ in found) <= 4_200
    assert sum(len(data) for _, data in found) == 40


def test_one_organization_leaves_slots_to_the_others() -> None:
    held = [Slot("one") for _ in range(large_answers.MAX_SLOTS_EACH)]
    assert all(slot.take() for slot in held)
    assert not Slot("one").take()
    other = Slot("other")
    assert other.take()
    assert other.take()
    held[0].give_back()
    held[0].give_back()
    assert Slot("one").take()
    del held, other
    gc.collect()
    assert large_answers._slots.used == 0


def test_a_reader_who_is_too_slow_loses_the_answer() -> None:
    slot = Slot("one")
    assert slot.take()

    async def read() -> None:
        async for _ in large_answers.sent(iter([b"1", b"2"]), slot, seconds=0.0):
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(read())
    assert not slot.is_held


# --- Single objects, leases, exports ---------------------------------------------------------------------------------


def test_a_lease_is_measured_as_it_is_shown_and_comes_in_portions(tenant: Tenant, small: None) -> None:
    """What the version before has stored, jsonb alone."""
    for _ in range(3):
        tenant.post("/api/v1/events", b'{"type":"a","data":[%s]}' % b",".join([b"1e308"] * 30))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ingestion_event SET data = data_text::jsonb, data_text = NULL")
    process_outbox()
    answers = [b"".join(tenant.post("/api/v1/inbox/lease", {})) for _ in range(3)]
    leases = [json.loads(answer) for answer in answers]
    assert [len(lease["events"]) for lease in leases] == [2, 1, 0]
    assert max(map(len, answers)) <= 21_000
    assert {float(event["data"][0]) for lease in leases for event in lease["events"]} == {1e308}


def test_without_a_slot_a_lease_holds_a_portion(tenant: Tenant, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_answers, "_slots", Budget(total=0, share=0))
    for _ in range(5):
        tenant.post("/api/v1/events", {"type": "a", "data": "x" * 1_800})
    process_outbox()
    leases = [tenant.post("/api/v1/inbox/lease", {}).json()["events"] for _ in range(4)]
    assert [len(events) for events in leases] == [2, 2, 1, 0]


def test_of_many_long_responses_the_newest_are_whole(tenant: Tenant) -> None:
    [event_id] = make_events(tenant.organization, 1, "1")
    hook = Subscription.objects.create(
        organization=tenant.organization, kind=SubscriptionKind.WEBHOOK, url="https://example.com/", secret="x"
    )
    now = timezone.now()
    delivery = Delivery.objects.create(
        id=uuid7(),
        organization=tenant.organization,
        subscription=hook,
        event_id=event_id,
        status="dead_letter",
        created_at=now,
        attempts=90,
    )
    Attempt.objects.bulk_create(
        Attempt(
            id=uuid7(),
            organization=tenant.organization,
            subscription_id=hook.pk,
            delivery_id=delivery.pk,
            number=number + 1,
            started_at=now,
            duration_ms=1,
            response="x" * 20 * KIB,
        )
        for number in range(90)
    )
    answer = tenant.get(f"/api/v1/deliveries/{delivery.pk}")
    lengths = [len(attempt["response"]) for attempt in answer.json()["attempts"]]
    assert lengths == [EXCERPT_LENGTH] * (90 - 12) + [20 * KIB] * 12
    assert len(answer.content) < 2 * (MAX_RESPONSES + 100 * KIB)


def test_an_export_reads_what_is_large_in_portions(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part ends in the middle of a page; each event is in the file once."""
    ids = make_events(tenant.organization, 45, json.dumps("x" * 250 * KIB))
    export = Export.objects.create(organization=tenant.organization, format=ExportFormat.NDJSON)
    tracemalloc.start()
    try:
        run_exports(seconds=60)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    export.refresh_from_db()
    assert (export.status, export.events) == (ExportStatus.DONE, len(ids))
    assert export.parts > 5
    assert peak < 6 * PART_BYTES


# --- A real server ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_twenty_large_pages_at_once_leave_the_process_small() -> None:
    """What a client gets is whole, whether it is a page of MAX_BYTES or one that ended with its portion."""
    tenant = make_tenant()
    make_events(tenant.organization, 100, json.dumps("x" * 250 * KIB))
    with serve("asgi", workers=1) as server:
        worker = _child_of(server.process.pid)
        before = _resident(worker)
        with ThreadPoolExecutor(20) as pool:
            sizes = list(pool.map(lambda _: _fetched(server.base_url, tenant.plaintext), range(40)))
        assert max(sizes) > 14 * 1024 * KIB
        assert min(sizes) >= 250 * KIB
        assert _peak(worker) < before + 80 * 1024 * KIB
        assert _resident(worker) < before + 40 * 1024 * KIB


def _fetched(base_url: str, key: str) -> int:
    import urllib.request  # noqa: PLC0415

    request = urllib.request.Request(f"{base_url}/api/v1/events?limit=1000", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = answer.read()
    page = json.loads(body)
    assert page["next_cursor"]
    assert all(len(event["data"]) == 250 * KIB for event in page["data"])
    return len(body)


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _resident(pid: int) -> int:
    return _status(pid, "VmRSS")


def _peak(pid: int) -> int:
    return _status(pid, "VmHWM")


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * KIB
    raise AssertionError(name)
