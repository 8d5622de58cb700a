"""Partitions are made while everybody reads and writes, and what the default one has caught finds its place."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from uuid_utils.compat import uuid7

from core.event_ids import lowest_id, time_of
from core.partitions import indexes as partition_indexes
from core.partitions import making as partition_making
from core.partitions.drops import ended_partitions
from core.partitions.indexes import replace_index
from core.partitions.making import Limits, make_partitions
from core.partitions.weeks import WEEK, has_partition, partitions_of, week_of
from core.postgresql import short_locks
from installation.local.data_dir import CHECKOUT
from organizations.plans import Plan
from tests.conftest import Tenant
from tests.support.servers import serve, test_database_url
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

# A Monday for which no partitions are made, so that its rows fall into the default one.
FAR = datetime(2040, 1, 2, tzinfo=UTC)
TABLE = "ingestion_event"
_INSERT = """
INSERT INTO ingestion_event (id, organization_id, type, data, received_at, batch_id)
SELECT id, %s, 'a', '{}', now(), %s FROM unnest(%s::uuid[]) AS id
"""


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """What is made here is in the way of no other test."""
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLE}_default")
        for partition in partitions_of(TABLE):
            if partition.end > lowest_id(FAR):
                cursor.execute(f"DROP TABLE {partition.name}")
    make_partitions()


def ids_of(moment: datetime, count: int) -> list[UUID]:
    return [UUID(int=lowest_id(moment).int | (uuid7().int & ((1 << 74) - 1))) for _ in range(count)]


def insert(ids: list[UUID]) -> None:
    with psycopg.connect(test_database_url(), autocommit=True) as session:
        session.execute(_INSERT, [uuid7(), uuid7(), ids])


def rows(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return int(cursor.fetchone()[0])


class Traffic:
    """Three sessions that write rows of `moment`, and two that read: each fails when it waits for a second."""

    def __init__(self, moment: datetime) -> None:
        self.written = self.read = 0
        self.errors: list[str] = []
        self._moment = moment
        self._end = threading.Event()
        self._counting = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number < 3,)) for number in range(5)]

    @contextmanager
    def flowing(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            self.go_on()
            yield
            self.go_on()
        finally:
            self._end.set()
            for thread in self._threads:
                thread.join()
        assert not self.errors

    def go_on(self) -> None:
        """Wait until more has been written and read."""
        written, read = self.written, self.read
        wait_until(lambda: bool(self.errors) or (self.written > written + 30 and self.read > read + 20))

    def _run(self, writes: bool) -> None:
        try:
            with psycopg.connect(test_database_url(), autocommit=True) as session:
                session.execute("SET lock_timeout = '1s'")
                while not self._end.is_set():
                    if writes:
                        session.execute(_INSERT, [uuid7(), uuid7(), ids_of(self._moment, 2)])
                    else:
                        session.execute("SELECT count(*) FROM ingestion_event")
                    with self._counting:
                        self.written, self.read = self.written + 2 * writes, self.read + (not writes)
        except psycopg.Error as error:
            self.errors.append(repr(error))


@contextmanager
def dump(database: str = "", application_name: str = "pg_dump") -> Iterator[psycopg.Connection]:
    """Holds what pg_dump holds while it runs; of the test's database, when none is named."""
    database = database or connection.settings_dict["NAME"]
    with psycopg.connect(test_database_url(), dbname=database, application_name=application_name) as session:
        tables = session.execute(
            "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class"
            " WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        ).fetchone()
        session.execute(f"LOCK TABLE {tables[0]} IN ACCESS SHARE MODE")  # type: ignore[index]
        yield session


def test_beside_a_dump_nobody_waits_for_a_partition_and_it_is_made_afterwards() -> None:
    said: list[str] = []
    traffic = Traffic(FAR)
    with traffic.flowing():
        with dump():
            traffic.go_on()
            assert make_partitions(now=FAR, tables=[TABLE], limits=Limits(tries=4), warn=said.append) == []
        made = make_partitions(now=FAR, tables=[TABLE], limits=Limits(most_moved=100_000))
    assert len(said) == 1
    assert "pg_dump (process" in said[0]
    assert made == [f"{TABLE}_{FAR + number * WEEK:%Y%m%d}" for number in range(5)]
    assert rows(f"{TABLE}_default") == 0
    assert rows(made[0]) == traffic.written


def test_many_rows_stay_where_they_are_and_the_default_partition_becomes_theirs() -> None:
    old = ids_of(FAR - 2 * WEEK, 500)
    insert(old)
    traffic = Traffic(FAR)
    with traffic.flowing():
        made = make_partitions(now=FAR, tables=[TABLE], limits=Limits(most_moved=20))
    assert rows(f"{TABLE}_default") == 0
    assert rows(TABLE) == rows(made[0]) == 500 + traffic.written
    (wide,) = [partition for partition in partitions_of(TABLE) if partition.name == made[0]]
    assert wide.low <= min(old)
    assert wide.end == lowest_id(FAR + 2 * WEEK)
    assert all(has_partition(TABLE, FAR + number * WEEK) for number in range(-2, 5))
    assert made[1:] == [f"{TABLE}_{FAR + number * WEEK:%Y%m%d}" for number in (2, 3, 4)]
    # It goes like any other one, and its successor takes what has no week.
    assert wide in ended_partitions(TABLE, now=FAR + 2 * WEEK + timedelta(days=1))
    assert wide not in ended_partitions(TABLE, now=FAR + 2 * WEEK)
    insert(ids_of(FAR + 20 * WEEK, 1))
    assert rows(f"{TABLE}_default") == 1
    assert indexes(wide.name) == indexes(f"{TABLE}_default") == indexes(made[1]) == 3


def indexes(name: str) -> int:
    """Those that belong to an index of the whole table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_index JOIN pg_inherits ON inhrelid = indexrelid WHERE indrelid = %s::regclass",
            [name],
        )
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("step", ["_prove", "_exchange"])
def test_a_run_that_was_killed_halfway_is_made_good_by_the_next(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    insert(ids_of(FAR, 50))
    with monkeypatch.context() as dying, suppress(KeyboardInterrupt):
        dying.setattr(partition_making, step, die)
        make_partitions(now=FAR, tables=[TABLE], limits=Limits(most_moved=20))
    insert(ids_of(FAR, 50))
    made = make_partitions(now=FAR, tables=[TABLE])
    assert rows(made[0]) == rows(TABLE) == 100
    insert(ids_of(FAR + 20 * WEEK, 1))  # nothing forbids it any more
    assert rows(f"{TABLE}_default") == 1


def test_a_new_week_is_stored_as_the_default_partition_is() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {TABLE}_default SET (fillfactor = 70)")
        try:
            made = make_partitions(now=FAR, tables=[TABLE])
            cursor.execute("SELECT reloptions FROM pg_class WHERE relname = ANY(%s)", [made])
            assert {tuple(options) for (options,) in cursor.fetchall()} == {("fillfactor=70",)}
        finally:
            cursor.execute(f"ALTER TABLE {TABLE}_default RESET (fillfactor)")


def test_a_few_rows_of_other_times_go_into_the_new_default_partition() -> None:
    insert([*ids_of(FAR, 100), *ids_of(FAR + 100 * WEEK, 3)])
    made = make_partitions(now=FAR, tables=[TABLE], limits=Limits(most_moved=20))
    assert rows(made[0]) == 100
    assert rows(f"{TABLE}_default") == 3


def test_old_rows_are_in_the_way_of_no_new_week(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many for PostgreSQL to read while others wait: they get a partition, the weeks to come get theirs."""
    insert(ids_of(FAR - 10 * WEEK, 50))
    attach = partition_making._attach

    def read_for_long(cursor, table, *rest) -> str:  # type: ignore[no-untyped-def]
        cursor.execute("SET LOCAL statement_timeout TO 100")
        cursor.execute("SELECT pg_sleep(1) FROM ingestion_event_default LIMIT 1")
        return attach(cursor, table, *rest)

    monkeypatch.setattr(partition_making, "_attach", read_for_long)
    made = make_partitions(now=FAR, tables=[TABLE])
    assert rows(made[0]) == 50
    assert all(has_partition(TABLE, FAR + number * WEEK) for number in range(5))


def test_rows_of_many_times_are_named_and_left_where_they_are() -> None:
    """Unless everybody may wait."""
    make_partitions(now=FAR + 5 * WEEK, tables=[TABLE])
    ids = [*ids_of(FAR, 100), *ids_of(FAR + 100 * WEEK, 100)]
    insert(ids)
    said: list[str] = []
    assert make_partitions(now=FAR, tables=[TABLE], limits=Limits(most_moved=20), warn=said.append) == []
    assert "rows of several times" in said[0]
    made = make_partitions(now=FAR, tables=[TABLE], limits=Limits(most_moved=10**9, hold_ms=60_000))
    assert (rows(made[0]), rows(f"{TABLE}_default"), rows(TABLE)) == (100, 100, 200)


def test_two_runs_at_once_make_each_partition_once() -> None:
    insert(ids_of(FAR, 200))
    errors: list[BaseException] = []

    def run() -> None:
        try:
            make_partitions(now=FAR, tables=[TABLE], limits=Limits(most_moved=20))
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    make_partitions(now=FAR, tables=[TABLE])  # should one have given way to the other, and that to it
    assert rows(TABLE) == 200
    assert rows(f"{TABLE}_default") == 0
    assert all(has_partition(TABLE, FAR + number * WEEK) for number in range(5))


def test_the_command_says_what_it_made_and_who_was_in_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_locks, "PAUSE_SECONDS", 0.01)
    last = partitions_of(TABLE)[-1]
    assert time_of(last.low) == week_of(timezone.now()) + 4 * WEEK
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {last.name}")
    out, errors = StringIO(), StringIO()
    with dump(), pytest.raises(CommandError, match=f"Still missing: {TABLE} of {last.week:%Y-%m-%d}"):
        call_command("make_partitions", seconds=0, stdout=out, stderr=errors)
    assert "pg_dump (process" in errors.getvalue()
    call_command("make_partitions", stdout=out)
    assert out.getvalue() == f"made {last.name}\n"
    call_command("make_partitions", stdout=(again := StringIO()))
    assert "already" in again.getvalue()


@pytest.mark.skipif("TEST_DATABASE_TEMPLATE" not in os.environ, reason="the server is not the tests' own")
def test_who_uses_another_database_of_the_server_is_not_said_to_be_in_the_way() -> None:
    """Its tables have the numbers of ours, for both are copies of one."""
    other = f"other_{connection.settings_dict['NAME']}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {other} TEMPLATE {os.environ['TEST_DATABASE_TEMPLATE']}")
        try:
            with dump(other, "elsewhere"), dump(), pytest.raises(short_locks.InUseError, match="pg_dump"):
                short_locks.try_often(_take, tables=[TABLE], tries=1)
        finally:
            cursor.execute(f"DROP DATABASE {other}")


def _take() -> None:
    with short_locks.short_transaction() as cursor:
        cursor.execute(f"LOCK TABLE {TABLE}")


@pytest.mark.long
def test_beside_a_real_dump_and_load_nobody_waits_and_no_event_is_refused(
    tenant: Tenant, postgresql_programs: Path
) -> None:
    """The running week has no partition, and the default one has too many of its rows to move them."""
    tenant.organization.plan = Plan.ENTERPRISE
    tenant.organization.save()
    week = f"{TABLE}_{week_of(timezone.now()):%Y%m%d}"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {week}")
    insert(ids_of(timezone.now(), 30_000))
    with serve() as server, ExitStack() as stack:
        command = [sys.executable, "-m", "tests.support.http.steady_load", server.base_url, tenant.plaintext]
        load = stack.enter_context(subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE))
        stack.callback(load.terminate)
        longest = stack.enter_context(longest_wait())
        with stalled_dump(postgresql_programs) as is_dumping:
            wait_until(is_dumping)
            said = StringIO()
            with pytest.raises(CommandError, match="Still missing"):
                call_command("make_partitions", seconds=0, stdout=said, stderr=said)
        call_command("make_partitions", stdout=said)
        load.terminate()
        told = json.loads(load.communicate()[0])
    assert "pg_dump (process" in said.getvalue()
    assert f"made {week}" in said.getvalue()
    assert not told["failures"]
    assert longest[0] < 1
    assert rows(f"{TABLE}_default") == 0
    assert rows(week) == rows(TABLE) == 30_000 + len(told["accepted"])


@contextmanager
def longest_wait() -> Iterator[list[float]]:
    """For how many seconds anybody has waited for a lock of a table as a reader or writer does, at most."""
    waiting = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float FROM pg_locks
    WHERE NOT granted AND locktype = 'relation' AND mode IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
    """
    longest, end = [0.0], threading.Event()

    def look() -> None:
        with psycopg.connect(test_database_url(), autocommit=True) as session:
            while not end.wait(0.02):
                (found,) = session.execute(waiting).fetchone() or (0.0,)
                longest[0] = max(longest[0], found)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield longest
    finally:
        end.set()
        thread.join()


@contextmanager
def stalled_dump(programs: Path) -> Iterator[Callable[[], bool]]:
    """pg_dump, of whose output nobody takes more than a pipe holds, until this ends; yields whether it reads yet."""
    command = [str(programs / "pg_dump"), f"--dbname={test_database_url()}"]
    reads = "SELECT FROM pg_stat_activity WHERE application_name = 'pg_dump' AND query ~ '^COPY'"

    def is_dumping() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(reads)
            return bool(cursor.rowcount)

    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        yield is_dumping
        process.communicate()
        assert process.returncode == 0


# --- An index gives way to another ------------------------------------------------------------------------------------


def indexes_of(table: str) -> dict[str, bool]:
    """Whether each is valid, by what it is on."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT substring(pg_get_indexdef(indexrelid) FROM 'btree (.*)'), indisvalid FROM pg_index"
            " WHERE indrelid = %s::regclass",
            [table],
        )
        return dict(cursor.fetchall())


def exchange(old: str, new: str, columns: str) -> None:
    replace_index(TABLE, old=old, new=new, columns=columns)


@pytest.fixture
def put_back() -> Iterator[None]:
    yield
    exchange("event_by_source", "event_of_type", "organization_id, type, id")


@pytest.mark.usefixtures("put_back")
def test_an_index_gives_way_to_another_while_everybody_reads_and_writes() -> None:
    make_partitions(now=FAR, tables=[TABLE])
    with Traffic(FAR).flowing():
        exchange("event_of_type", "event_by_source", "organization_id, source, id")
    made = make_partitions(now=FAR + 10 * WEEK, tables=[TABLE])
    for table in (TABLE, f"{TABLE}_default", made[-1], *(partition.name for partition in partitions_of(TABLE))):
        assert indexes_of(table) == {
            "(id)": True, "(organization_id, id)": True, "(organization_id, source, id)": True
        }  # fmt: skip


@pytest.mark.usefixtures("put_back")
@pytest.mark.parametrize("step", ["_tie", "_drop"])
def test_an_exchange_of_indexes_that_was_killed_goes_on(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying, suppress(KeyboardInterrupt):
        dying.setattr(partition_indexes, step, die)
        exchange("event_of_type", "event_by_source", "organization_id, source, id")
    assert indexes_of(TABLE)["(organization_id, type, id)"]
    exchange("event_of_type", "event_by_source", "organization_id, source, id")
    assert indexes_of(TABLE) == {"(id)": True, "(organization_id, id)": True, "(organization_id, source, id)": True}


@pytest.mark.usefixtures("put_back")
def test_beside_a_dump_the_old_index_stays_and_goes_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_locks, "PAUSE_SECONDS", 0)
    with dump():
        # What reads sees both meanwhile.
        with pytest.raises(short_locks.InUseError, match="pg_dump"):
            exchange("event_of_type", "event_by_source", "organization_id, source, id")
        assert indexes_of(TABLE)["(organization_id, type, id)"]
    exchange("event_of_type", "event_by_source", "organization_id, source, id")
    assert indexes_of(TABLE) == {"(id)": True, "(organization_id, id)": True, "(organization_id, source, id)": True}
