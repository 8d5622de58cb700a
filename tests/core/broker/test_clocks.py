"""A worker whose clock is wrong works like any other: hosts need not agree on the time for messages to be taken."""

from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections

from core.broker.wakeup import Waker
from delivery.models import Delivery, SubscriptionKind
from events_platform.celery import app
from ingestion.models import OutboxEntry
from tests.factories import inbox_of, make_organization
from tests.support.celery_process import watched_celery
from tests.support.events.delivering import store_events
from tests.support.servers import test_database_url
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def wrong_clock(hours: str) -> dict[str, str]:
    """Environment of a process that is `hours` away (`+2h`); skips the test without Debian's `faketime`."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        pytest.skip("libfaketime is not installed (Debian: apt install faketime)")
    return {"LD_PRELOAD": str(libraries[0]), "FAKETIME": hours, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@pytest.mark.parametrize("hours", ["+2h", pytest.param("-2h", marks=pytest.mark.long)])
@pytest.mark.django_db(transaction=True)
def test_a_worker_whose_clock_is_wrong_processes_events(hours: str) -> None:
    """And what it makes is due now: PostgreSQL's clock says when."""
    organization = make_organization()
    inbox_of(organization)
    store_events(organization, 100)
    app.control.purge()
    assert Waker("ingestion.process_outbox").send()
    environment = {**wrong_clock(hours), "DATABASE_URL": test_database_url()}
    with watched_celery("", "worker", "--queues", "events", "--concurrency", "1", **environment):
        wait_until(lambda: not OutboxEntry.objects.exists(), seconds=120)
    in_inbox = Delivery.objects.filter(organization=organization, subscription__kind=SubscriptionKind.INBOX)
    assert in_inbox.count() == 100
    assert _minutes_away(in_inbox) == {0}
    connections.close_all()


def _minutes_away(deliveries: Any) -> set[int]:
    """From PostgreSQL's clock to when the deliveries are due."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        (now,) = cursor.fetchone()
    due = deliveries.values_list("next_attempt_at", flat=True)
    return {round((moment - now).total_seconds() / 600) for moment in due}
