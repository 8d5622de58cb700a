"""Who may have how many webhooks in flight in one sender, so that nobody's endpoints hold up another's. Pure.

A request to an endpoint that hangs holds a place for 15 s, one to an endpoint that works for a few milliseconds. So
there are two lanes. Endpoints that lately answered well and quickly go in the quick one; those that fail, are slow or
have not been tried yet share the slow one, and a request that takes long moves there while it runs. In each lane an
organization may hold its part of the places, and at most half of what the others leave, and a subscription takes half
of that at once: whoever comes next finds room.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from uuid import UUID

# Requests at once: each holds its event, of up to 256 KiB.
PLACES = 400
SLOW_PLACES = 200
# However many have become slow meanwhile, so many places are left to the quick ones; in all it is never more than MOST.
QUICK_PLACES = 100
MOST = 800
# No more is claimed while events of so many bytes are held.
MOST_BYTES = 48 * 1024 * 1024
# Requests at once to one endpoint: enough for 2 000 a second at 10 ms, too few to hurt it.
CONCURRENCY = 20
# One that was not tried yet, or has begun to fail: fewer with each failure, down to one.
UNPROVEN = 3
# An endpoint that answers quickly has the next ones at hand: as many as it takes in a tenth of a second.
MOST_AT_HAND = 100
AT_HAND_SECONDS = 0.1
# Longer than this is slow.
SLOW_SECONDS = 1.0
# One claim takes no more; of the slow lane less, as a thousand endpoints that refuse would keep the sender busy.
CLAIMED_AT_ONCE = 200
SLOW_CLAIMED_AT_ONCE = 25
_REMEMBERED = 10_000


@dataclass(slots=True)
class _Record:
    """How an endpoint did lately: the seconds of its attempts, the last ones most, and its failures in a row.

    `most` may be in flight at once.
    """

    seconds: float
    failures: int
    most: int


@dataclass(frozen=True, slots=True)
class Place:
    """What is in flight: whose, since when, and how many bytes it holds."""

    organization_id: UUID
    subscription_id: UUID
    since: float
    size: int
    quick: bool


@dataclass(slots=True)
class _Lane:
    """`claims`: how many may be claimed now. `organizations`: how many have something due."""

    places: int
    claims: int
    organizations: int
    held: int = 0
    by_organization: Counter[UUID] = field(default_factory=Counter)

    def take(self, organization_id: UUID, number: int) -> None:
        self.held += number
        self.by_organization[organization_id] += number

    def room_of(self, organization_id: UUID) -> int:
        """How many more it may hold: one as long as there is one."""
        own = self.by_organization[organization_id]
        free = self.places - self.held
        most = max(1, min((free + own) // 2, self.places // max(1, self.organizations)))
        return max(0, min(free, self.claims, most - own))


class _Pile:
    """Subscriptions that have something due, by organization, in turn."""

    def __init__(self) -> None:
        self._by_organization: OrderedDict[UUID, OrderedDict[UUID, int]] = OrderedDict()

    def __len__(self) -> int:
        """How many organizations."""
        return len(self._by_organization)

    def put(self, organization_id: UUID, subscription_id: UUID, failures: int) -> None:
        self._by_organization.setdefault(organization_id, OrderedDict())[subscription_id] = failures

    def take_out(self, organization_id: UUID, subscription_id: UUID) -> int | None:
        """The failures that it was put in with; None when it was not there."""
        subscriptions = self._by_organization.get(organization_id, OrderedDict())
        failures = subscriptions.pop(subscription_id, None)
        if not subscriptions:
            self._by_organization.pop(organization_id, None)
        return failures

    def had_a_turn(self, organization_id: UUID, subscription_id: UUID) -> None:
        """The others come before it next time."""
        self._by_organization[organization_id].move_to_end(subscription_id)
        self._by_organization.move_to_end(organization_id)

    def in_turn(self, *, while_room: Callable[[UUID], int]) -> Iterator[tuple[UUID, UUID, int]]:
        """`(organization, subscription, failures)`, of each organization as long as there is room for it."""
        for organization_id, subscriptions in self._by_organization.items():
            for subscription_id, failures in subscriptions.items():
                if not while_room(organization_id):
                    break
                yield organization_id, subscription_id, failures


Plan = dict[tuple[UUID, UUID], int]


class Shares:
    """The places of one sender, and which subscriptions it knows to have something due. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}
        self._numbers = count()
        self._bytes = 0
        self._of_subscription: Counter[UUID] = Counter()
        self._records: OrderedDict[UUID, _Record] = OrderedDict()
        self._quick, self._slow = _Pile(), _Pile()

    def __len__(self) -> int:
        """How many places are held."""
        return len(self._places)

    def holds(self, subscription_id: UUID) -> bool:
        """Whether it has something in flight."""
        return subscription_id in self._of_subscription

    @property
    def has_due(self) -> bool:
        return bool(self._quick or self._slow)

    def put_due(self, organization_id: UUID, subscription_id: UUID, failures: int = 0) -> None:
        """It has something due. `failures`: how many in a row, as far as is known."""
        pile = self._quick if self._is_quick(subscription_id) else self._slow
        pile.put(organization_id, subscription_id, failures)

    def forget_due(self, organization_id: UUID, subscription_id: UUID) -> None:
        """All that was due is taken."""
        self._quick.take_out(organization_id, subscription_id)
        self._slow.take_out(organization_id, subscription_id)

    def hold(self, *, organization_id: UUID, subscription_id: UUID, size: int, now: float) -> int:
        """One more is in flight from now on; returns the number of its place."""
        number = next(self._numbers)
        self._places[number] = Place(organization_id, subscription_id, now, size, self._is_quick(subscription_id))
        self._of_subscription[subscription_id] += 1
        self._bytes += size
        return number

    def give_back(self, number: int) -> None:
        place = self._places.pop(number)
        self._bytes -= place.size
        self._of_subscription[place.subscription_id] -= 1
        if not self._of_subscription[place.subscription_id]:
            del self._of_subscription[place.subscription_id]

    def note(
        self, organization_id: UUID, subscription_id: UUID, *, seconds: float, delivered: bool, most: int | None = None
    ) -> bool:
        """What an attempt has shown of an endpoint; whether what is due to it is in another lane from now on."""
        was_quick, known = self._is_quick(subscription_id), self._records.get(subscription_id)
        smoothed = seconds if known is None else known.seconds * 0.7 + seconds * 0.3
        failures = 0 if delivered else (known.failures if known else 0) + 1
        self._records[subscription_id] = _Record(smoothed, failures, most or CONCURRENCY)
        self._records.move_to_end(subscription_id)
        if len(self._records) > _REMEMBERED:
            self._records.popitem(last=False)
        if was_quick == self._is_quick(subscription_id):
            return False
        left = (self._quick if was_quick else self._slow).take_out(organization_id, subscription_id)
        if left is not None:
            self.put_due(organization_id, subscription_id, left)
        return left is not None

    def plan(self, *, now: float) -> Plan:
        """`(organization, subscription)` → how many of its due deliveries to claim now. Those have had their turn."""
        planned: Plan = {}
        if self._bytes >= MOST_BYTES:
            return planned
        quick, slow, have_become_slow = self._lanes(now)
        for pile, own in ((self._quick, quick), (self._slow, slow)):
            had_a_turn = []
            for organization_id, subscription_id, failures in pile.in_turn(while_room=own.room_of):
                lane = slow if subscription_id in have_become_slow else own
                most = self._most_of(subscription_id, failures, quick=lane is quick)
                half = (lane.room_of(organization_id) + 1) // 2
                number = min(half, most - self._of_subscription[subscription_id])
                if number > 0:
                    lane.take(organization_id, number)
                    lane.claims -= number
                    planned[organization_id, subscription_id] = number
                    had_a_turn.append((organization_id, subscription_id))
            for key in had_a_turn:
                pile.had_a_turn(*key)
        return planned

    def _lanes(self, now: float) -> tuple[_Lane, _Lane, set[UUID]]:
        slow = _Lane(SLOW_PLACES, SLOW_CLAIMED_AT_ONCE, len(self._slow))
        quick = _Lane(0, CLAIMED_AT_ONCE, len(self._quick))
        have_become_slow = set()
        for place in self._places.values():
            is_old = now - place.since > SLOW_SECONDS
            (quick if place.quick and not is_old else slow).take(place.organization_id, 1)
            if place.quick and is_old:
                have_become_slow.add(place.subscription_id)
        quick.places = min(max(PLACES - slow.held, QUICK_PLACES), MOST - slow.held)
        slow.places = min(slow.places, PLACES - quick.held)
        return quick, slow, have_become_slow

    def _is_quick(self, subscription_id: UUID) -> bool:
        record = self._records.get(subscription_id)
        return record is not None and not record.failures and record.seconds < SLOW_SECONDS

    def _most_of(self, subscription_id: UUID, failures: int, *, quick: bool) -> int:
        record = self._records.get(subscription_id)
        if quick and record is not None:
            return record.most + min(MOST_AT_HAND, int(record.most * AT_HAND_SECONDS / max(record.seconds, 0.001)))
        if record is not None and not record.failures:
            return record.most
        return max(1, UNPROVEN - max(failures, record.failures if record is not None else 0))
