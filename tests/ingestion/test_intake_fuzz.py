"""Thousands of damaged requests go through the whole intake, among good ones, into a real PostgreSQL.

Whatever comes in: the answer is a 2xx or a 4xx, what is acknowledged is stored, nothing else is, and no good event
that shares a statement with a damaged one is lost.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from django.db import connections

from core.ports import SyncRedis
from core.ports.asynchronous import PooledDatabase, SingleDatabase
from core.problems import Problem
from ingestion.intake.pipeline import IntakeRequest, Passed, Ports, receive_batch, receive_event
from ingestion.intake.writer import GroupCommitWriter
from ingestion.models import Event, IdempotencyKey, OutboxEntry
from ingestion.schemas.checking import schema_checks
from organizations.keys.authentication import Caller
from tests.factories import make_organization
from tests.support.events.mutations import BATCHES, JSON, SINGLES, Headers, mutate, mutate_headers

pytestmark = pytest.mark.slow

ROUNDS = 120
DAMAGED_PER_ROUND = 100
GOOD_PER_ROUND = 10
SEED = 20_260_101

Receive = Callable[[Ports, IntakeRequest], Awaitable[Passed]]


@pytest.mark.django_db(transaction=True)
def test_damaged_requests_are_refused_and_take_no_other_along() -> None:
    organization = make_organization()
    acknowledged = asyncio.run(_throw(organization.pk))
    stored = set(Event.objects.values_list("pk", flat=True))
    assert len(stored) > ROUNDS * GOOD_PER_ROUND  # some damaged requests are valid all the same
    assert stored == acknowledged
    queued = [event_id for entry in OutboxEntry.objects.all() for event_id in entry.event_ids]
    assert (len(queued), set(queued)) == (len(stored), stored)
    assert set(IdempotencyKey.objects.values_list("event_id", flat=True)) <= stored
    for event in Event.objects.all().iterator():  # everything that was stored can be read again
        json.loads(event.data)
    connections.close_all()


async def _throw(organization_id: UUID) -> set[UUID]:
    """The ids of all events that were acknowledged as stored."""
    chance = random.Random(SEED)
    caller = Caller(
        key_id=organization_id,
        key_label="fuzz",
        organization_id=organization_id,
        scopes=frozenset(),
        events_per_minute=10**9,
        expires_at=None,
    )
    reads, writes = PooledDatabase(), SingleDatabase()
    ports = Ports(
        database=reads,
        redis=SyncRedis(),
        check=schema_checks.check,
        breathe=lambda: asyncio.sleep(0),
        store=GroupCommitWriter(writes).store,
    )
    acknowledged: set[UUID] = set()
    for number in range(ROUNDS):
        damaged = [_send(ports, caller, *_damaged(chance)) for _ in range(DAMAGED_PER_ROUND)]
        good = [_send(ports, caller, receive_event, dict(JSON), _good(number, n)) for n in range(GOOD_PER_ROUND)]
        results = await asyncio.gather(*damaged, *good)
        assert all(len(ids) == 1 for ids in results[-GOOD_PER_ROUND:])
        acknowledged.update(*results)
    await reads.close()
    await writes.close()
    return acknowledged


def _damaged(chance: random.Random) -> tuple[Receive, Headers, bytes]:
    batch = chance.random() < 0.3
    headers, body = chance.choice(BATCHES if batch else SINGLES)
    return receive_batch if batch else receive_event, mutate_headers(headers, chance), mutate(body, chance)


def _good(number: int, n: int) -> bytes:
    return b'{"type":"good","data":[%d,%d],"idempotency_key":"good-%d-%d"}' % (number, n, number, n)


async def _send(ports: Ports, caller: Caller, receive: Receive, headers: Headers, body: bytes) -> set[UUID]:
    """The ids that the answer acknowledges, those of duplicates too."""
    answer = (await receive(ports, IntakeRequest(caller=caller, request_id="1", headers=headers, body=body))).result
    if isinstance(answer, Problem):
        assert answer.status_code < 500
        return set()
    content = json.loads(answer.body)
    assert answer.status < 500
    results = content["results"] if receive is receive_batch else [content]
    return {UUID(result["id"]) for result in results if result["id"]}
