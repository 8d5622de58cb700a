"""The worker is killed in the middle of its work: no event is lost, and none is processed twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest
from django.db import connection, connections

from core.ports import SyncDatabase, run_now
from delivery.models import Delivery
from ingestion.formats.decoding import DecodedEvent
from ingestion.intake.storing import Incoming, store
from ingestion.models import EventType, OutboxEntry
from organizations.models import Organization
from tests.factories import inbox_of, make_organization
from tests.support.celery_process import worker
from tests.support.servers import test_database_url
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

# Of each type as much as several transactions of processing take.
EVENTS_PER_TYPE = 10_000
EVENTS_PER_ENTRY = 100
DEADLINE_SECONDS = 120
_WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@contextmanager
def locked_type(organization: Organization, name: str) -> Iterator[None]:
    """Whoever processes an event of this type waits in the middle of its transaction until this ends."""
    EventType.objects.create(organization=organization, name=name)
    with psycopg.connect(test_database_url()) as locking:
        locking.execute("SELECT FROM ingestion_eventtype WHERE name = %s FOR UPDATE", [name])
        yield


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_WAITING)
        return cursor.fetchone() is not None


def accept(organization: Organization, name: str) -> set[UUID]:
    event = DecodedEvent(type=name, data="1", source=None, subject=None, time=None, idempotency_key=None)
    incoming = [Incoming(organization.pk, event) for _ in range(EVENTS_PER_TYPE)]
    for start in range(0, EVENTS_PER_TYPE, EVENTS_PER_ENTRY):
        run_now(store(SyncDatabase(), incoming[start : start + EVENTS_PER_ENTRY]))
    return {one.id for one in incoming}


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_a_killed_worker_loses_and_doubles_nothing(broker: dict[str, str]) -> None:
    organization = make_organization()
    inbox_of(organization)
    ids = accept(organization, "early") | accept(organization, "late")
    late = EVENTS_PER_TYPE // EVENTS_PER_ENTRY
    with locked_type(organization, "late"), worker(**broker):
        wait_until(
            lambda: OutboxEntry.objects.count() == late and somebody_waits_for_a_lock(), seconds=DEADLINE_SECONDS
        )
    assert OutboxEntry.objects.count() == late
    assert Delivery.objects.count() == EVENTS_PER_TYPE
    with worker(**broker):
        wait_until(lambda: not OutboxEntry.objects.exists(), seconds=DEADLINE_SECONDS)
    assert set(Delivery.objects.values_list("event_id", flat=True)) == ids
    assert Delivery.objects.count() == len(ids)
    assert dict(EventType.objects.values_list("name", "count")) == dict.fromkeys(["early", "late"], EVENTS_PER_TYPE)
    connections.close_all()
