"""PostgreSQL's troubles: nothing waits for ever, nothing is blamed on an event, and nothing stays when they pass."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import Error, connection, transaction
from psycopg import errors, sql

from core.ports import Parameters, SyncDatabase, run_now
from core.ports.asynchronous import SingleDatabase
from core.postgresql.availability import Availability, PostgresqlAwayError
from core.postgresql.faults import is_passing
from events_platform import values
from ingestion.formats.decoding import DecodedEvent
from ingestion.intake.storing import Accepted, Incoming, WriteOutcome, store
from ingestion.models import Event, OutboxEntry, ProcessingFailure
from ingestion.operations import process_outbox
from ingestion.operations.process import StoredEvent, event_handlers
from tests.factories import make_organization
from tests.support.doctor_patient import look
from tests.support.http.clients import Sender, make_sender
from tests.support.http.proxies import postgres_proxy
from tests.support.servers import serve, test_database_url
from tests.support.waiting import wait_until

EVENT = {"type": "t", "data": 1}
FAILING: list[Exception] = []


def fail(events: Sequence[StoredEvent]) -> None:
    """A handler of events, named in a setting."""
    if FAILING:
        raise FAILING[0]


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (psycopg.OperationalError("server closed the connection unexpectedly"), True),
        (errors.ReadOnlySqlTransaction(), True),
        (errors.DiskFull(), True),
        (errors.LockNotAvailable(), True),
        (errors.QueryCanceled(), True),
        (errors.DeadlockDetected(), True),
        (errors.UndefinedTable(), True),
        (errors.IdleInTransactionSessionTimeout(), True),
        (errors.NotNullViolation(), False),
        (errors.NumericValueOutOfRange(), False),
        (errors.ProgramLimitExceeded(), False),
        (errors.InFailedSqlTransaction(), False),
        (ValueError(), False),
    ],
)
def test_whose_fault_it_is(error: Exception, *, passes: bool) -> None:
    assert is_passing(error) is passes
    wrapped = Error()
    wrapped.__cause__ = error
    assert is_passing(wrapped) is passes


def test_a_row_that_meets_a_partition_is_not_at_fault_but_one_that_breaks_a_rule_is(transactional_db: None) -> None:
    with psycopg.connect(test_database_url()) as database:
        database.execute("CREATE TEMP TABLE t (id int, n int, CONSTRAINT rule CHECK (n > 0)) PARTITION BY RANGE (id)")
        database.execute("CREATE TEMP TABLE t_one PARTITION OF t FOR VALUES FROM (0) TO (10)")
        database.execute("CREATE TEMP TABLE t_default PARTITION OF t DEFAULT")
        database.execute("ALTER TABLE t_default ADD CONSTRAINT moving CHECK (id < 20) NOT VALID")
        judged = {}
        for statement in ("t VALUES (1, 0)", "t_default VALUES (1, 1)", "t VALUES (30, 1)"):
            with pytest.raises(psycopg.IntegrityError) as raised, database.transaction():
                database.execute(sql.SQL("INSERT INTO {}").format(sql.SQL(statement)))
            judged[statement] = is_passing(raised.value)
    assert judged == {"t VALUES (1, 0)": False, "t_default VALUES (1, 1)": True, "t VALUES (30, 1)": True}


class Refusing:
    """A database that refuses the first inserts as one does whose partition is being attached."""

    def __init__(self, times: int) -> None:
        self.times, self.inner = times, SyncDatabase()

    async def fetch(self, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        if self.times:
            self.times -= 1
            raise errors.CheckViolation("new row violates partition constraint")
        return await self.inner.fetch(statement, parameters)

    async def pause(self, seconds: float) -> None:
        """Nothing to wait for."""


def stored(times: int) -> list[WriteOutcome]:
    event = DecodedEvent(type="t", data="1", source=None, subject=None, time=None, idempotency_key=None)
    return run_now(store(Refusing(times), [Incoming(make_organization().pk, event)]))


def test_an_event_that_meets_a_partition_while_it_is_attached_is_stored(db: None) -> None:
    (outcome,) = stored(3)
    assert isinstance(outcome, Accepted)


def test_while_it_takes_longer_nothing_is_known_and_no_event_is_refused_for_good(db: None) -> None:
    with pytest.raises(psycopg.OperationalError):
        stored(1_000)


@pytest.mark.parametrize("error", [errors.ReadOnlySqlTransaction(), errors.UndefinedTable(), SoftTimeLimitExceeded()])
def test_a_batch_that_postgresql_fails_stays_in_the_outbox(
    db: None, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setitem(globals(), "FAILING", [error])
    monkeypatch.setattr(event_handlers, "functions", [fail])
    stored(0)
    with pytest.raises(type(error)), transaction.atomic():
        process_outbox()
    assert (OutboxEntry.objects.count(), ProcessingFailure.objects.count()) == (1, 0)


def test_what_one_learns_all_know_and_one_at_a_time_looks() -> None:
    known = Availability()
    known.enter()
    known.failed(since=1.0, is_lost=True)
    with pytest.raises(PostgresqlAwayError):
        known.enter()
    known._look_again_at = 0.0
    known.enter()
    with pytest.raises(PostgresqlAwayError):
        known.enter()
    known.answered()
    known.enter()
    known.failed(since=0.0, is_lost=True)  # one connection was broken while others worked
    known.enter()
    assert known.generation == 1


@pytest.mark.django_db(transaction=True)
def test_every_session_has_limits_and_those_of_the_operator_win() -> None:
    given = "-c idle_in_transaction_session_timeout=7s"
    options = values.session_options(given=given, statement_seconds=10)
    names = ("idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout", "synchronous_commit")
    with psycopg.connect(test_database_url(), options=options) as database:
        shown = [database.execute("SELECT current_setting(%s)", [name]).fetchone() for name in names]
    assert shown == [("7s",), ("10s",), ("5s",), ("on",)]
    wire = values.database("postgresql://u@h/d?connect_timeout=9")["OPTIONS"]
    assert (wire["connect_timeout"], wire["keepalives"]) == ("9", "1")

    async def shown_to_the_intake() -> str:
        database = SingleDatabase()
        try:
            return str((await database.fetch("SELECT current_setting('statement_timeout')", ()))[0][0])
        finally:
            await database.close()

    assert asyncio.run(shown_to_the_intake()) == "4500ms"


def test_doctor_tells_of_transactions_that_may_idle_for_ever(db: None) -> None:
    assert look("postgresql")["postgresql_limits"].status == "ok"
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    outcome = look("postgresql")["postgresql_limits"]
    assert (outcome.status, "ALTER ROLE" in outcome.remedy) == ("warning", True)


@contextmanager
def read_only_database() -> Iterator[None]:
    """Sessions that begin meanwhile cannot write, also afterwards; those that are there end."""
    _set_read_only("ALTER DATABASE {} SET default_transaction_read_only = on")
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        yield
    finally:
        _set_read_only("ALTER DATABASE {} RESET default_transaction_read_only")


def _set_read_only(statement: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement.format(connection.ops.quote_name(connection.settings_dict["NAME"])))


@pytest.mark.faults
@pytest.mark.django_db(transaction=True)
def test_a_database_that_was_read_only_takes_events_and_changes_again() -> None:
    with serve("asgi", workers=1) as server:
        sender = make_sender(server.base_url)
        subscription = {"kind": "inbox", "name": "later"}
        assert sender.client.post("/api/v1/events", EVENT).status == 202
        with read_only_database():
            wait_until(lambda: sender.client.post("/api/v1/events", EVENT).status == 503)
            assert sender.client.post("/api/v1/events", EVENT).status == 503
            assert sender.client.post("/api/v1/subscriptions", subscription).status == 503
        wait_until(lambda: sender.client.post("/api/v1/events", EVENT).status == 202)
        assert sender.client.post("/api/v1/subscriptions", subscription).status == 201


@pytest.mark.faults
@pytest.mark.django_db(transaction=True)
def test_after_a_failover_without_a_word_the_web_server_writes_and_reads_again() -> None:
    with postgres_proxy() as proxy, serve("asgi", workers=1, DATABASE_URL=proxy.url) as server:
        sender = make_sender(server.base_url)
        assert answers(sender) == (202, 200)
        proxy.lose()
        wait_until(lambda: answers(sender) == (202, 200), seconds=30)


@pytest.mark.faults
@pytest.mark.django_db(transaction=True)
def test_while_postgresql_hangs_reads_and_writes_are_refused() -> None:
    with postgres_proxy() as proxy, serve("asgi", workers=1, DATABASE_URL=proxy.url) as server:
        sender = make_sender(server.base_url)
        assert answers(sender) == (202, 200)
        proxy.hang()
        assert answers(sender) == (503, 503)
        page = sender.client.get("/console/", Cookie="sessionid=" + "a" * 32)
        assert (page.status, page.headers["retry-after"]) == (503, "1")
        assert b"does not answer" in page.body
        proxy.restore()
        wait_until(lambda: answers(sender) == (202, 200))
        assert Event.objects.count() >= 2


def answers(sender: Sender) -> tuple[int, int]:
    return sender.client.post("/api/v1/events", EVENT).status, sender.client.get("/api/v1/events").status
