"""The writer: shared commits, one outcome for each event, and no loss when something fails."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
import pytest

from core.ports import Parameters, SyncDatabase, run_now
from core.ports.asynchronous import SingleDatabase
from core.problems import Problem
from ingestion.formats.decoding import DecodedEvent
from ingestion.intake import writer as writer_module
from ingestion.intake.storing import Accepted, Incoming, WriteOutcome, store
from ingestion.intake.writer import GroupCommitWriter
from ingestion.models import Event, IdempotencyKey, IntakeProbe, OutboxEntry
from organizations.models import Organization
from tests.factories import make_organization

# No client can send such an attribute: the decoder refuses it. PostgreSQL does too, as it is jsonb.
POISON = '"\\ud800"'


@pytest.fixture
def organization(transactional_db: None) -> Organization:
    return make_organization()


def incoming(organization: Organization, data: str = "1", key: str | None = None) -> Incoming:
    attributes = data if data == POISON else None
    event = DecodedEvent(
        type="t", data=data, source=None, subject=None, time=None, idempotency_key=key, annotations=attributes
    )
    return Incoming(organization.pk, event)


class Counted:
    """A database that counts its statements, and can be told to fail or to wait."""

    def __init__(self) -> None:
        self.inner = SingleDatabase()
        self.statements = 0
        self.before: Callable[[], Awaitable[None]] | None = None

    async def fetch(self, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        self.statements += 1
        if self.before is not None:
            await self.before()
        return await self.inner.fetch(statement, parameters)

    async def pause(self, seconds: float) -> None:
        await self.inner.pause(seconds)


def with_writer(scenario: Callable[[GroupCommitWriter, Counted], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        database = Counted()
        try:
            return await scenario(GroupCommitWriter(database), database)
        finally:
            await database.inner.close()

    return asyncio.run(run())


async def stored_by(writer: GroupCommitWriter, events: Sequence[Incoming]) -> list[WriteOutcome]:
    return await writer.store(events)


def codes(outcomes: Sequence[WriteOutcome]) -> list[str]:
    return [
        outcome.problem_type.code if isinstance(outcome, Problem) else "duplicate" if outcome.duplicate else "accepted"
        for outcome in outcomes
    ]


def test_events_that_wait_share_a_statement(organization: Organization) -> None:
    async def scenario(writer: GroupCommitWriter, database: Counted) -> None:
        await asyncio.gather(*(writer.store([incoming(organization)]) for _ in range(100)))
        assert database.statements == 1

    with_writer(scenario)
    assert Event.objects.count() == 100
    assert len(OutboxEntry.objects.get().event_ids) == 100


def test_a_statement_has_a_bound(organization: Organization) -> None:
    async def scenario(writer: GroupCommitWriter, database: Counted) -> None:
        batches = [[incoming(organization) for _ in range(600)] for _ in range(3)]
        await asyncio.gather(*(writer.store(batch) for batch in batches))
        assert database.statements == 3

    with_writer(scenario)
    assert Event.objects.count() == 1800


def test_a_poison_row_fails_alone(organization: Organization) -> None:
    async def scenario(writer: GroupCommitWriter, database: Counted) -> list[WriteOutcome]:
        singles = [incoming(organization, POISON if n in {3, 17} else str(n)) for n in range(20)]
        outcomes = await asyncio.gather(*(writer.store([single]) for single in singles))
        return [outcome for (outcome,) in outcomes]

    outcomes = with_writer(scenario)
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Problem)] == [3, 17]
    assert codes(outcomes)[3] == "validation_failed"
    accepted = {outcome.id for outcome in outcomes if isinstance(outcome, Accepted)}
    assert set(Event.objects.values_list("pk", flat=True)) == accepted
    queued = {event_id for entry in OutboxEntry.objects.all() for event_id in entry.event_ids}
    assert queued == accepted


def test_one_flush_holds_the_same_key_once(organization: Organization) -> None:
    async def scenario(writer: GroupCommitWriter, database: Counted) -> list[WriteOutcome]:
        events = [incoming(organization, data, "k") for data in ("1", "1", "2")]
        return [outcome for (outcome,) in await asyncio.gather(*(writer.store([event]) for event in events))]

    assert codes(with_writer(scenario)) == ["accepted", "duplicate", "idempotency_key_reused"]
    assert Event.objects.count() == 1


def test_a_key_whose_first_event_failed_is_free(organization: Organization) -> None:
    async def scenario(writer: GroupCommitWriter, database: Counted) -> list[WriteOutcome]:
        return await writer.store([incoming(organization, POISON, "k"), incoming(organization, "1", "k")])

    assert codes(with_writer(scenario)) == ["validation_failed", "accepted"]
    assert IdempotencyKey.objects.get().event_id == Event.objects.get().pk


def test_an_expired_key_is_taken_over(organization: Organization, settings: Any) -> None:
    first, second = incoming(organization, "1", "k"), incoming(organization, "2", "k")
    settings.IDEMPOTENCY_HOURS = 0
    assert codes(run_now(store(SyncDatabase(), [first]))) == ["accepted"]
    settings.IDEMPOTENCY_HOURS = 24
    assert codes(run_now(store(SyncDatabase(), [second]))) == ["accepted"]
    assert IdempotencyKey.objects.get().event_id == second.id


def test_writers_of_two_processes_agree_on_a_key(organization: Organization) -> None:
    async def scenario(writer: GroupCommitWriter, database: Counted) -> list[WriteOutcome]:
        other_database = SingleDatabase()
        other = GroupCommitWriter(other_database)
        batches = [[incoming(organization, "1", f"k{n}") for n in range(500)] for _ in range(2)]
        batches[1].reverse()
        outcomes = await asyncio.gather(writer.store(batches[0]), other.store(batches[1]))
        await other_database.close()
        return [*outcomes[0], *outcomes[1]]

    outcomes = codes(with_writer(scenario))
    assert (outcomes.count("accepted"), outcomes.count("duplicate")) == (500, 500)
    assert Event.objects.count() == 500


def test_text_is_stored_as_it_came(organization: Organization) -> None:
    odd = ['a"b', "a\\b", "{a,b}", "NULL", " x ", "é\u2028\U0001f600", "'"]
    events = [
        Incoming(
            organization.pk,
            DecodedEvent(type="NULL", data=f'"{n}"', source=text, subject=text, time=None, idempotency_key=text),
            schema_errors='["\\""]',
        )
        for n, text in enumerate(odd)
    ]
    assert codes(run_now(store(SyncDatabase(), events))) == ["accepted"] * len(odd)
    stored = Event.objects.order_by("pk").values_list("type", "source", "subject", "idempotency_key", "annotations")
    assert list(stored) == [("NULL", text, text, text, '{"schema_errors": ["\\""]}') for text in odd]


def test_a_full_queue_refuses_at_once_and_loses_nothing(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "QUEUE_EVENTS", 10)

    async def scenario(writer: GroupCommitWriter, database: Counted) -> list[Any]:
        go_on = asyncio.Event()

        async def wait() -> None:
            await asyncio.wait_for(go_on.wait(), 30)

        database.before = wait
        waiting = [asyncio.create_task(stored_by(writer, [incoming(organization)])) for _ in range(12)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
        go_on.set()
        assert len(done) == 2
        return await asyncio.gather(*waiting, return_exceptions=True)

    outcomes = with_writer(scenario)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    assert [problem.status_code for problem in refused] == [503, 503]
    assert all(problem.headers["Retry-After"] for problem in refused)
    assert Event.objects.count() == 10


def test_while_postgresql_is_away_nothing_is_acknowledged(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    async def scenario(writer: GroupCommitWriter, database: Counted) -> None:
        database.before = fail
        sent = [writer.store([incoming(organization)]) for _ in range(5)]
        first = await asyncio.gather(*sent, return_exceptions=True)
        assert [problem.status_code for problem in first if isinstance(problem, Problem)] == [503] * 5
        assert database.statements == 1
        with pytest.raises(Problem):  # for a moment nobody waits for the next failure
            await writer.store([incoming(organization)])
        assert database.statements == 1
        database.before = None
        monkeypatch.setattr(writer, "_refuses_until", 0.0)
        assert codes(await writer.store([incoming(organization)])) == ["accepted"]

    with_writer(scenario)
    assert Event.objects.count() == 1


def test_a_fault_of_our_own_answers_its_flush_and_the_writer_goes_on(organization: Organization) -> None:
    async def fail() -> None:
        raise ValueError("a bug")

    async def scenario(writer: GroupCommitWriter, database: Counted) -> None:
        database.before = fail
        with pytest.raises(Problem) as caught:
            await writer.store([incoming(organization)])
        assert caught.value.status_code == 500
        database.before = None
        assert codes(await writer.store([incoming(organization)])) == ["accepted"]

    with_writer(scenario)


def test_a_client_that_goes_away_holds_up_no_other(organization: Organization) -> None:
    async def scenario(writer: GroupCommitWriter, database: Counted) -> list[WriteOutcome]:
        gone = asyncio.create_task(stored_by(writer, [incoming(organization)]))
        stays = asyncio.create_task(stored_by(writer, [incoming(organization)]))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert codes(with_writer(scenario)) == ["accepted"]


def test_a_probe_shares_the_commit_of_events_and_else_makes_its_own(organization: Organization) -> None:
    async def scenario(writer: GroupCommitWriter, database: Counted) -> None:
        await asyncio.gather(writer.prove(), stored_by(writer, [incoming(organization)]))
        assert database.statements == 1
        await writer.prove()
        assert database.statements == 2

    with_writer(scenario)
    assert IntakeProbe.objects.count() == 1


def test_a_probe_that_fails_says_why_and_lets_the_events_behind_it_be_tried(organization: Organization) -> None:
    async def scenario(writer: GroupCommitWriter, database: Counted) -> None:
        async def fill_the_disk() -> None:
            raise psycopg.errors.DiskFull("could not extend file")

        database.before = fill_the_disk
        with pytest.raises(Problem):
            await writer.prove()
        assert isinstance(writer.fault, psycopg.errors.DiskFull)
        assert writer.committed_at == float("-inf")
        database.before = None
        assert codes(await writer.store([incoming(organization)])) == ["accepted"]

    with_writer(scenario)
