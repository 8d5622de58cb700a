"""What the process measures of deliveries. Labels are closed sets: never a tenant's words or ids."""

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import Counter, Histogram

from core.metrics import GatheredHistogram, write_gathered_if_due
from delivery.attempt_errors import AttemptError

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)
DELIVERED = "delivered"

FANNED_OUT = Counter("events_deliveries_created", "Deliveries that processing made from events.")
_ATTEMPTS = Counter("events_delivery_attempts", "Attempts of webhooks: `delivered`, or why they failed.", ["outcome"])
_DEAD_LETTERS = Counter(
    "events_dead_letters",
    "Webhook deliveries that were given up, by the last error; `event_gone` is the platform's own fault.",
    ["reason"],
)
_ATTEMPT_SECONDS = Histogram(
    "events_delivery_attempt_duration_seconds", "Time that attempts of webhooks took.", buckets=SECONDS
)
# From the start, so that the first failure of a kind is an increase.
for _error in AttemptError:
    _ATTEMPTS.labels(_error.value)
    _DEAD_LETTERS.labels(_error.value)
_ATTEMPTS.labels(DELIVERED)
_DEAD_LETTERS.labels("event_gone")
ATTEMPT_SECONDS = GatheredHistogram(_ATTEMPT_SECONDS, SECONDS)


def note_attempts(outcomes: Iterable[str], milliseconds: Iterable[int]) -> None:
    """Attempts that were recorded: what came of each, and how long it took."""
    for outcome, count in Tally(outcomes).items():
        _ATTEMPTS.labels(outcome).inc(count)
    for one in milliseconds:
        ATTEMPT_SECONDS.observe(one / 1000)
    write_gathered_if_due()


def note_dead_letters(reasons: Iterable[str]) -> None:
    for reason, count in Tally(reasons).items():
        _DEAD_LETTERS.labels(reason).inc(count)
