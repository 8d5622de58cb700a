"""Order against a model: clients that await their answers, two workers, senders that are killed, in many interleavings.

Each worker and each flush of the intake has a connection of its own and commits when chance says so, or never. All run
in one thread: whoever would wait for a lock gives up at once, as if it were killed.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import NamedTuple
from uuid import UUID

import psycopg
import pytest
from django.db import OperationalError, connections, transaction
from django.db.models import F

from core.ports import SyncDatabase, run_now
from delivery.matching.interests import forget_interests
from delivery.models import Delivery, KeyQueue, KeyQueueMember, SubscriptionStatus
from delivery.operations import default_inboxes, retry_delivery, skip_delivery
from delivery.ordering.queues import go_on_now
from delivery.webhooks.claiming import Claimed
from ingestion.formats.decoding import DecodedEvent
from ingestion.intake.storing import Incoming, store
from ingestion.operations import process, process_outbox
from tests.factories import TESTER, make_organization
from tests.support.events.delivering import webhook
from tests.support.events.ordering import end, take

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
KEYS = "abc"
# Of each run: fewer would prove nothing.
EVENTS_AT_LEAST = 20


def give_up_locks() -> None:
    """Of the connection of whoever acts."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SET lock_timeout = '20ms'")


class Actor:
    """Somebody with a connection of their own, whose transaction is open from begin() on."""

    def __init__(self) -> None:
        self._connection = connections.create_connection("default")
        with self.acting():
            give_up_locks()
        self._atomic: transaction.Atomic | None = None

    @property
    def is_busy(self) -> bool:
        return self._atomic is not None

    @contextmanager
    def acting(self) -> Iterator[None]:
        own, connections["default"] = connections["default"], self._connection
        try:
            yield
        finally:
            connections["default"] = own

    def begin(self, work: Callable[[], None]) -> None:
        with self.acting():
            self._atomic = transaction.atomic()
            self._atomic.__enter__()
        self.go_on(work)

    def go_on(self, work: Callable[[], None]) -> None:
        """In the transaction that is open."""
        with self.acting():
            try:
                work()
            except (OperationalError, psycopg.OperationalError):
                self.end(commits=False)

    def end(self, *, commits: bool) -> None:
        if self._atomic is None:
            return
        with self.acting():
            if not commits:
                transaction.set_rollback(True)
            self._atomic.__exit__(None, None, None)
        self._atomic = None

    def close(self) -> None:
        self.end(commits=False)
        self._connection.close()


def _store(incoming: Incoming) -> None:
    run_now(store(SyncDatabase(), [incoming]))


class Sent(NamedTuple):
    """A flush that is under way, of the key's client, which awaits its answer."""

    key: str
    event_id: UUID


class Simulation:
    """One webhook in order by subject; each key has a client, and each delivery two attempts."""

    def __init__(self, seed: int) -> None:
        give_up_locks()
        forget_interests()
        self.chance = random.Random(seed)
        self.organization = make_organization()
        default_inboxes([self.organization.pk])
        self.subscription = webhook(
            self.organization,
            "https://example.com/",
            order_by="subject",
            has_queues=True,
            retry_schedule=[5],
            on_dead_letter=self.chance.choice(["skip", "hold"]),
        )
        self.workers, self.servers = [Actor(), Actor()], [Actor(), Actor()]
        self.flushes: dict[Actor, Sent] = {}
        self.in_hand: dict[Actor, list[process.StoredEvent]] = {}
        self.accepted: dict[str, list[UUID]] = defaultdict(list)
        self.over: set[UUID] = set()
        self.last_sequence: dict[str, int] = {}
        self.attempted: set[UUID] = set()
        self.claims: list[Claimed] = []
        self.numbers = count()

    def run(self, steps: int) -> None:
        weighted = {
            self.send: 6,
            self.answer: 6,
            self.begin_batch: 3,
            self.end_batch: 4,
            self.claim: 4,
            self.finish: 6,
            self.kill_sender: 1,
            self.let_time_pass: 2,
            self.decide: 1,
            self.pause: 1,
        }
        try:
            for step in self.chance.choices(list(weighted), list(weighted.values()), k=steps):
                step()
            self.work_off()
        finally:
            for actor in (*self.workers, *self.servers):
                actor.close()
            connections["default"].close()

    def send(self) -> None:
        """The statement has run, its commit and so the answer are yet to come."""
        key, actor = self.chance.choice(KEYS), self.chance.choice(self.servers)
        if actor.is_busy or any(sent.key == key for sent in self.flushes.values()):
            return
        # Types of their own, so that workers do not wait for each other's counts.
        event = DecodedEvent(
            type=f"t{next(self.numbers)}", data="1", source=None, subject=key, time=None, idempotency_key=None
        )
        incoming = Incoming(self.organization.pk, event)
        actor.begin(lambda: _store(incoming))
        self.flushes[actor] = Sent(key, incoming.id)

    def answer(self) -> None:
        actor = self.chance.choice(self.servers)
        self._answer(actor, commits=self.chance.random() < 0.9)

    def _answer(self, actor: Actor, *, commits: bool) -> None:
        if (sent := self.flushes.pop(actor, None)) is None:
            return
        commits = commits and actor.is_busy
        actor.end(commits=commits)
        if commits:
            self.accepted[sent.key].append(sent.event_id)

    def begin_batch(self) -> None:
        """The entries are in the worker's hand, and nothing has come of them yet."""
        actor = self.chance.choice(self.workers)
        if not actor.is_busy:
            actor.begin(lambda: self.in_hand.update({actor: process._claim()[2]}))

    def end_batch(self) -> None:
        self._end_batch(self.chance.choice(self.workers), commits=self.chance.random() < 0.8)

    def _end_batch(self, actor: Actor, *, commits: bool) -> None:
        events = self.in_hand.pop(actor, [])
        if actor.is_busy and events:
            actor.go_on(lambda: process._process(events))
        actor.end(commits=commits)

    def claim(self) -> None:
        key_of = {event_id: key for key, ids in self.accepted.items() for event_id in ids}
        for one in take(self.subscription, self.chance.randint(1, 3)):
            key = key_of[one.event_id]
            earlier = self.accepted[key][: self.accepted[key].index(one.event_id)]
            assert self.over.issuperset(earlier)
            assert one.event_id not in self.over
            if one.event_id not in self.attempted:
                self.attempted.add(one.event_id)
                before = self.last_sequence.get(key)
                assert before is None or one.sequence == before + 1
                self.last_sequence[key] = one.sequence or 0
            assert one.sequence == self.last_sequence[key]
            self.claims.append(one)

    def finish(self) -> None:
        """An attempt ends, perhaps after its lease."""
        if self.claims:
            one = self.claims.pop(self.chance.randrange(len(self.claims)))
            self._finish(one, status=self.chance.choice([200, 500]))

    def _finish(self, one: Claimed, *, status: int) -> None:
        try:
            end(one, status=status)
        except psycopg.errors.LockNotAvailable:
            return  # the sender was killed before it had recorded it
        now = Delivery.objects.get(pk=one.id)
        if now.status == "delivered" or (now.status == "dead_letter" and not self.subscription.holds_keys):
            self.over.add(one.event_id)

    def kill_sender(self) -> None:
        self.claims.clear()

    def let_time_pass(self) -> None:
        """Leases and waits end."""
        passed = timedelta(seconds=60)
        Delivery.objects.update(next_attempt_at=F("next_attempt_at") - passed, lease_until=F("lease_until") - passed)

    def decide(self) -> None:
        """Somebody skips or retries what holds its key."""
        heads = KeyQueue.objects.exclude(head_id=None).values("head_id")
        for held in Delivery.objects.filter(pk__in=heads, status="dead_letter"):
            change = self.chance.choice([skip_delivery, retry_delivery])
            try:
                change(delivery=held, subscription=self.subscription, actor=TESTER, now=held.created_at)
            except OperationalError:
                continue  # a worker has its queue
            if change is skip_delivery:
                self.over.add(held.event_id)

    def pause(self) -> None:
        self._pause(self.chance.random() < 0.3)

    def _pause(self, pauses: bool) -> None:
        self.subscription.status = SubscriptionStatus.PAUSED if pauses else SubscriptionStatus.ACTIVE
        self.subscription.save(update_fields=["status"])

    def work_off(self) -> None:
        """Everything that was begun ends, and everything arrives: nothing is lost, and no key is stuck."""
        for server in self.servers:
            self._answer(server, commits=True)
        for worker in self.workers:
            self._end_batch(worker, commits=True)
        process_outbox()
        self.claims.clear()
        self._pause(False)
        for _ in range(2 * len(self.accepted) + 2 * sum(map(len, self.accepted.values()))):
            if not Delivery.objects.filter(status__in=["pending", "retrying"]).exists():
                break
            self.let_time_pass()
            self.decide()
            self.claim()
            while self.claims:
                self._finish(self.claims.pop(), status=200)
        self.decide()
        events = {event_id for ids in self.accepted.values() for event_id in ids}
        assert len(events) > EVENTS_AT_LEAST
        assert self.attempted == events
        go_on_now()
        assert not KeyQueueMember.objects.exists()
        assert not KeyQueue.objects.filter(next_position__isnull=False).exists()
        open_ones = Delivery.objects.filter(status__in=["pending", "retrying"])
        assert not open_ones.exists()


@pytest.mark.parametrize("seed", range(3))
def test_each_key_goes_in_the_order_of_acceptance(seed: int) -> None:
    Simulation(seed).run(steps=400)
