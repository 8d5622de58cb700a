"""Who may have how many webhooks in flight: nobody's endpoints take the places of another's."""

from uuid import UUID, uuid4

import pytest

from delivery.webhooks.shares import (
    CLAIMED_AT_ONCE,
    CONCURRENCY,
    MOST,
    MOST_BYTES,
    PLACES,
    SLOW_PLACES,
    SLOW_SECONDS,
    Shares,
)

QUICK = 0.01


class Sender:
    """Takes what its plans say, and lets attempts end."""

    def __init__(self) -> None:
        self.shares = Shares()
        self.now = 0.0
        self.held: dict[UUID, list[int]] = {}

    def take(self, rounds: int = 1) -> dict[UUID, int]:
        """Places that were given by these rounds, by subscription. Everybody has more due than there is room."""
        taken: dict[UUID, int] = {}
        for _ in range(rounds):
            for (organization, subscription), number in self.shares.plan(now=self.now).items():
                taken[subscription] = taken.get(subscription, 0) + number
                for _ in range(number):
                    place = self.shares.hold(
                        organization_id=organization, subscription_id=subscription, size=100, now=self.now
                    )
                    self.held.setdefault(subscription, []).append(place)
        return taken

    def end(self, organization: UUID, subscription: UUID, *, seconds: float = QUICK, delivered: bool = True) -> None:
        for place in self.held.pop(subscription, []):
            self.shares.note(organization, subscription, seconds=seconds, delivered=delivered)
            self.shares.give_back(place)


@pytest.fixture
def sender() -> Sender:
    return Sender()


def proven(sender: Sender) -> tuple[UUID, UUID]:
    """Organization and subscription of an endpoint that answered well and quickly, with more due."""
    organization, subscription = uuid4(), uuid4()
    sender.shares.note(organization, subscription, seconds=QUICK, delivered=True)
    sender.shares.put_due(organization, subscription)
    return organization, subscription


def test_an_endpoint_that_was_not_tried_yet_begins_small_and_grows(sender: Sender) -> None:
    organization, subscription = uuid4(), uuid4()
    sender.shares.put_due(organization, subscription)
    assert sender.take(10)[subscription] == 3
    sender.end(organization, subscription)
    assert sender.take(10)[subscription] >= CONCURRENCY


def test_one_that_fails_has_fewer_with_each_failure(sender: Sender) -> None:
    organization, subscription = uuid4(), uuid4()
    sender.shares.put_due(organization, subscription)
    for expected in (3, 1, 1):
        assert sender.take(5)[subscription] == expected
        sender.end(organization, subscription, delivered=False)


def test_what_its_row_says_of_failures_counts_too(sender: Sender) -> None:
    organization, subscription = uuid4(), uuid4()
    sender.shares.put_due(organization, subscription, failures=24)
    assert sender.take(5) == {subscription: 1}


def test_hanging_endpoints_of_one_organization_leave_room_to_every_other(sender: Sender) -> None:
    hostile = uuid4()
    for _ in range(1_000):
        sender.shares.put_due(hostile, uuid4())
    assert sum(sender.take(500).values()) <= SLOW_PLACES // 2
    organization, subscription = uuid4(), uuid4()
    sender.shares.put_due(organization, subscription)
    assert sender.take()[subscription] == 3


def test_a_thousand_hanging_tenants_leave_the_places_of_those_that_work(sender: Sender) -> None:
    for _ in range(1_000):
        sender.shares.put_due(uuid4(), uuid4())
    sender.take(500)
    assert len(sender.shares) <= SLOW_PLACES
    _, subscription = proven(sender)
    assert sender.take()[subscription] > CONCURRENCY


def test_a_slow_endpoint_that_answers_well_holds_no_more_than_its_connections(sender: Sender) -> None:
    organization, subscription = uuid4(), uuid4()
    sender.shares.put_due(organization, subscription)
    sender.take(3)
    sender.end(organization, subscription, seconds=14.0)
    assert sender.take(50)[subscription] == CONCURRENCY


def test_endpoints_that_worked_and_hang_now_make_room_after_a_second(sender: Sender) -> None:
    for _ in range(100):
        proven(sender)
    sender.take(50)
    assert len(sender.shares) <= PLACES
    _, subscription = proven(sender)
    sender.now += SLOW_SECONDS + 0.1
    assert sender.take()[subscription] > 0
    sender.now += SLOW_SECONDS + 0.1
    for _ in range(20):
        proven(sender)
        sender.take(10)
        sender.now += SLOW_SECONDS + 0.1
    assert len(sender.shares) <= MOST


def test_ten_thousand_subscriptions_in_trouble_do_not_come_before_those_that_work(sender: Sender) -> None:
    organization = uuid4()
    for _ in range(10_000):
        sender.shares.put_due(organization, uuid4(), failures=30)
    _, subscription = proven(sender)
    planned = sender.take()
    assert planned.pop(subscription) > CONCURRENCY
    assert sum(planned.values()) <= 25, "they get a few at a time"


def test_everybody_has_a_turn(sender: Sender) -> None:
    owners = [proven(sender) for _ in range(500)]
    had_a_turn: set[UUID] = set()
    for _ in range(500):
        taken = sender.take()
        assert sum(taken.values()) <= CLAIMED_AT_ONCE
        had_a_turn |= taken.keys()
        for organization, subscription in owners:
            sender.end(organization, subscription)
    assert had_a_turn == {subscription for _, subscription in owners}


def test_large_events_stop_the_claims_until_some_have_gone(sender: Sender) -> None:
    organization, subscription = proven(sender)
    size = MOST_BYTES // 2
    first, second = (
        sender.shares.hold(organization_id=organization, subscription_id=subscription, size=size, now=0)
        for _ in range(2)
    )
    assert sender.take() == {}
    sender.shares.give_back(first)
    sender.shares.give_back(second)
    assert sender.take()


def test_what_has_nothing_due_is_not_planned(sender: Sender) -> None:
    organization, subscription = proven(sender)
    sender.shares.forget_due(organization, subscription)
    assert not sender.shares.has_due
    assert sender.take() == {}
