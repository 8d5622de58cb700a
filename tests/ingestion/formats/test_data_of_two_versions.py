"""Events as the version before stores them, beside those of this one: both are read, found, changed and compared."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from uuid_utils.compat import uuid7

from core.ports import SyncDatabase, run_now
from core.version import VERSION, oldest_beside
from delivery.matching.filters import compile_filter
from delivery.matching.stored_events import read_views
from delivery.models import Delivery, DeliveryStatus, Replay
from delivery.operations import ReplayRequest, create_replay
from delivery.operations.replays import run_replays
from ingestion.formats.decoding import decode_event
from ingestion.intake.storing import Incoming, store
from ingestion.models import AlsoAsJsonb, Event
from ingestion.operations import process_outbox
from ingestion.queries import EventCriteria, search_events
from lifecycle.erasing.events import ErasureCriteria, start_event_erasure
from lifecycle.erasing.running import run_erasures
from lifecycle.models import SchemaVersion
from organizations.models import Organization
from tests.conftest import Tenant
from tests.factories import TESTER, inbox_of, make_delivery, make_events, make_organization, make_webhook
from tests.support.servers import test_database_url
from tests.support.waiting import wait_until

FORMS = ("jsonb", "both", "text")
TEXT = '{"user":{"email":"ann@example.com","n":1e25},"b":1.10,"a":-0}'


def make_forms(organization: Organization, text: str = TEXT) -> dict[str, Event]:
    """An event of each form: of the version before, of this one beside it, of this one alone."""
    events = make_events(organization, len(FORMS))
    for form, event in zip(FORMS, events, strict=True):
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE ingestion_event SET data_text = %s, data = %s WHERE id = %s",
                [None if form == "jsonb" else text, None if form == "text" else text, event.pk],
            )
    return dict(zip(FORMS, Event.objects.order_by("pk"), strict=True))


def stored() -> dict[str, tuple[str | None, str | None]]:
    """By form: the text, and the jsonb as the version before reads it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT data_text, data::text FROM ingestion_event ORDER BY id")
        return dict(zip(FORMS, cursor.fetchall(), strict=True))


def test_each_form_is_read_and_found(tenant: Tenant) -> None:
    events = make_forms(tenant.organization)
    ids = [event.pk for event in events.values()]
    assert events["text"].data == events["both"].data == TEXT
    assert events["jsonb"].data == '{"a": 0, "b": 1.10, "user": {"n": 1e25, "email": "ann@example.com"}}'
    for value in ("ann@example.com", '"ann@example.com"'):
        wanted = EventCriteria(path="user.email", value=value)
        assert {event.pk for event in search_events(tenant.organization.pk, wanted, size=9).events} == set(ids)
    views = [view for _, view in read_views(ids)]
    assert [compile_filter({"data.user.n": 1e25}).matches(view) for view in views] == [True] * 3


def test_a_number_that_jsonb_cannot_hold_breaks_no_search(tenant: Tenant) -> None:
    make_forms(tenant.organization)
    long = "0." + "1" * 20_000
    for data in (f'{{"n":{long},"user":{{"email":"ann@example.com"}}}}', '{"n":[1e-20000,"1e-20000"],"user":1}'):
        tenant.post("/api/v1/events", b'{"type":"a","data":%s}' % data.encode())
    found = search_events(tenant.organization.pk, EventCriteria(path="user.email", value="ann@example.com"), size=9)
    assert len(found.events) == 4
    assert len(search_events(tenant.organization.pk, EventCriteria(path="n.1", value="1e-20000"), size=9).events) == 1
    for value in ("1e-20000", long):
        search_events(tenant.organization.pk, EventCriteria(path="n", value=value), size=9)


@pytest.mark.parametrize("form", FORMS)
def test_a_key_of_each_form_is_compared_by_what_is_meant(tenant: Tenant, form: str) -> None:
    body = {"type": "t", "idempotency_key": "k", "data": {"a": 1, "b": [1.0, 2]}}
    AlsoAsJsonb.objects.bulk_create([AlsoAsJsonb(id=1)] if form != "text" else [])
    assert tenant.post("/api/v1/events", body).status_code == 202
    if form == "jsonb":
        Event.objects.update(data_text=None)
    assert (Event.objects.get().data_text is None) == (form == "jsonb")
    again = b'{"type":"t","idempotency_key":"k","data":{ "b":[1,20e-1], "a":1}}'
    assert tenant.post("/api/v1/events", again).status_code == 200
    assert tenant.post("/api/v1/events", {**body, "data": {"a": 2}}).status_code == 409


def test_each_form_is_redacted_where_it_is(tenant: Tenant) -> None:
    make_forms(tenant.organization)
    criteria = ErasureCriteria(where=[("data.user.email", "ann@example.com")], redact=["data.user.email", "data.b.0"])
    start_event_erasure(organization=tenant.organization, criteria=criteria, actor=TESTER)
    run_erasures()
    text = TEXT.replace("ann@example.com", "[redacted]")
    old = '{"a": 0, "b": 1.10, "user": {"n": 10000000000000000000000000, "email": "[redacted]"}}'
    found = stored()
    assert found["text"] == (text, None)
    assert found["jsonb"] == (None, old)
    assert found["both"][0] == text
    assert json.loads(found["both"][1] or "") == json.loads(old)


def test_what_the_version_before_redacts_is_not_read_from_the_text(tenant: Tenant) -> None:
    """Its statement knows nothing of the other column."""
    make_forms(tenant.organization)
    with connection.cursor() as cursor:
        cursor.execute("""UPDATE ingestion_event SET data = jsonb_set(data, '{user,email}', '"[redacted]"', false)""")
    found = stored()
    assert found["text"] == (TEXT, None)
    assert found["both"] == found["jsonb"]
    assert found["both"][0] is None
    assert [("ann@" in event.data) for event in Event.objects.order_by("pk")] == [False, False, True]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("1e-999", "0.0"), ("[5e-324,1.10]", None), ("0." + "3" * 20_000, "0.333333"), ('{"a":1,"a":2}', '{"a": 2}')],
)
def test_the_version_before_can_read_what_it_would_have_refused(tenant: Tenant, sent: str, kept: str | None) -> None:
    """And it is not longer for it than the longest number that it takes itself."""
    AlsoAsJsonb.objects.create(id=1)
    event_id = tenant.post("/api/v1/events", b'{"type":"a","data":%s}' % sent.encode()).json()["id"]
    assert Event.objects.get(pk=event_id).data == sent
    with connection.cursor() as cursor:
        cursor.execute("SELECT data::text FROM ingestion_event")
        (shown,) = cursor.fetchone()
    assert len(shown) < 400
    assert json.loads(shown) == json.loads(sent)
    assert kept is None or shown.startswith(kept)


def test_the_way_back_is_closed_and_opened_again(tenant: Tenant) -> None:
    AlsoAsJsonb.objects.create(id=1)
    SchemaVersion.objects.update_or_create(id=1, defaults={"version": VERSION, "oldest": oldest_beside(VERSION)})
    call_command("store_data", "text", stdout=StringIO())
    assert SchemaVersion.objects.get().oldest == VERSION
    for data in (b"1e-999", b'{"b":1,"a":2}', b"null"):
        tenant.post("/api/v1/events", b'{"type":"a","data":%s}' % data)
    assert Event.objects.filter(data_jsonb__isnull=True).count() == 3
    said = StringIO()
    call_command("store_data", "both", stdout=said)
    assert "3 were filled in" in said.getvalue()
    assert SchemaVersion.objects.get().oldest == oldest_beside(VERSION)
    assert [event.data for event in Event.objects.order_by("pk")] == ["1e-999", '{"b":1,"a":2}', "null"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT data::text FROM ingestion_event ORDER BY id")
        assert [row[0] for row in cursor.fetchall()] == ["0.0", '{"a": 2, "b": 1}', "null"]


# --- The migration, while the version before goes on -----------------------------------------------------------------

# What it writes and reads, as it does.
_OLD_STORE = """
WITH stored AS (
    INSERT INTO ingestion_event (id, organization_id, type, data, received_at, batch_id)
    VALUES (%(id)s, %(organization)s, 'old', %(data)s::jsonb, now(), %(batch)s) RETURNING id
) INSERT INTO ingestion_outboxentry (id, event_ids, created_at) SELECT %(batch)s, array_agg(id), now() FROM stored
"""
_OLD_READ = """
SELECT event.data::text FROM ingestion_event AS event WHERE organization_id = %(organization)s ORDER BY id DESC LIMIT 9
"""


@contextmanager
def going_on(*steps: Callable[["psycopg.Connection[Any]"], None]) -> Iterator[Callable[[], int]]:
    """Each step again and again in a thread of its own, on a connection of its own; yields how often they were done.

    Raises the first error of any of them.
    """
    ended, errors, done = threading.Event(), list[Exception](), [0] * len(steps)

    def run(number: int) -> None:
        try:
            with psycopg.connect(test_database_url(), autocommit=True) as session:
                while not ended.is_set():
                    steps[number](session)
                    done[number] += 1
        except (psycopg.Error, AssertionError) as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(steps))]
    for thread in threads:
        thread.start()
    try:
        yield lambda: min(done) if not errors else pytest.fail(repr(errors[0]))
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
    assert not errors


@pytest.mark.django_db(transaction=True)
def test_the_migration_stops_nobody_and_loses_nothing() -> None:
    organization = make_organization(plan="enterprise")
    inbox, hook = inbox_of(organization), make_webhook(organization, event_types=["*"])
    old = make_events(organization, 10, timezone.now() - timedelta(hours=1), data={"n": 1e25})
    states = {event.pk: status for event, status in zip(old, [*DeliveryStatus] * 2, strict=False)}
    for event in old[: len(states)]:
        make_delivery(event, hook, states[event.pk])
    replay = create_replay(
        subscription=hook,
        criteria=ReplayRequest(
            received_after=old[8].received_at, received_before=timezone.now() - timedelta(minutes=30), event_types=["*"]
        ),
        actor=TESTER,
        now=timezone.now(),
    )
    call_command("migrate", "ingestion", "0008_event_type_format", verbosity=0)
    sent: list[UUID] = []

    def send(session: "psycopg.Connection[Any]") -> None:
        sent.append(uuid7())
        values = {"id": sent[-1], "organization": organization.pk, "data": '{"b": 1, "a": 2}', "batch": uuid7()}
        session.execute(_OLD_STORE, values)

    def read(session: "psycopg.Connection[Any]") -> None:
        rows = session.execute(_OLD_READ, {"organization": organization.pk}).fetchall()
        assert all(data is not None for (data,) in rows)

    with going_on(send, read) as done:
        wait_until(lambda: done() > 20)
        call_command("migrate", verbosity=0)
        before = done()
        outcomes = run_now(store(SyncDatabase(), [_incoming(organization) for _ in range(50)]))
        wait_until(lambda: done() > before + 20)
    assert AlsoAsJsonb.objects.exists()
    new = [outcome.id for outcome in outcomes]  # type: ignore[union-attr]
    process_outbox()
    run_replays(seconds=10)
    assert Replay.objects.get(pk=replay.pk).finished_at is not None
    events = {event.pk: event for event in Event.objects.all()}
    assert events.keys() == {*sent, *new, *(event.pk for event in old)}
    assert {events[pk].data for pk in new} == {'{"b":1.10,"a":2}'}
    assert {events[pk].data for pk in sent} == {'{"a": 2, "b": 1}'}
    for subscription in (inbox, hook.pk):
        deliveries = Delivery.objects.filter(subscription_id=subscription).values_list("event_id", flat=True)
        expected = [*sent, *new] + ([event.pk for event in old] if subscription == hook.pk else [])
        assert sorted(set(deliveries)) == sorted(expected)
        assert len(deliveries) - len(set(deliveries)) == (2 if subscription == hook.pk else 0)
    kept = Delivery.objects.filter(subscription=hook, event_id__in=list(states)[:8])
    assert {row.event_id: row.status for row in kept} == {pk: states[pk] for pk in list(states)[:8]}


def _incoming(organization: Organization) -> Incoming:
    return Incoming(organization.pk, decode_event(b'{"type":"new","data":{"b":1.10,"a":2}}'))
