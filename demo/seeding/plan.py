"""What is to be made up, as plain values that go to other processes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate

DAYS = 30
# The servers count by the minute; the platform makes hours of that when it is older (ingestion.operations.roll_up).
MINUTES_KEPT = timedelta(hours=26)
HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000

TYPES = (
    "invoice.paid", "order.created", "user.signed_up", "sensor.reading", "push.received", "build.finished",
    "payment.captured", "order.shipped", "build.failed", "invoice.sent", "user.verified", "payment.refunded",
    "invoice.overdue", "order.paid", "user.deleted", "order.returned",
)  # fmt: skip
# Of each organization; the first of its types is the most frequent one.
TYPES_EACH = 8
SOURCES = ("/billing", "/shop", "/accounts", "/devices/17", "/ci")
# What the webhooks of the organizations want.
WANTED = "invoice.*"


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """`organization`, `inbox`, `webhook`: hexadecimal ids. `number` counts from 0, the largest organization."""

    number: int
    organization: str
    inbox: str
    webhook: str

    @property
    def types(self) -> list[int]:
        """Numbers of its TYPES, in the order of their frequency."""
        return [(self.number + place) % len(TYPES) for place in range(TYPES_EACH)]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`events` in even steps over DAYS up to `now`; the n-th tenant has 1/n of what the first one has."""

    tenants: list[Tenant]
    now: datetime
    events: int
    random_seed: int

    @property
    def start(self) -> datetime:
        return self.now - timedelta(days=DAYS)

    def microsecond_of(self, number: int) -> int:
        """When the event of this number is received, since the epoch."""
        return microseconds(self.start) + DAYS * 24 * HOUR_US * number // self.events

    def first_at(self, moment: datetime) -> int:
        """The number of the first event that is received at `moment` or later."""
        passed = microseconds(moment) - microseconds(self.start)
        number = -(-passed * self.events // (DAYS * 24 * HOUR_US))
        return min(self.events, max(0, number))

    @property
    def weights(self) -> list[float]:
        return list(accumulate(1 / (number + 1) for number in range(len(self.tenants))))


def microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
