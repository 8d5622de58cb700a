"""What the process measures of the intake and of processing. Labels are closed sets: never a tenant's words or ids."""

from prometheus_client import Counter, Gauge, Histogram

from core.metrics import SECONDS, GatheredCounter, GatheredHistogram
from core.problems import PROBLEM_TYPES

BATCH_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)

_EVENTS = Counter(
    "events_intake_events",
    "Events that the intake was sent, by outcome; `code` says why one was rejected. A refused batch counts once.",
    ["outcome", "code"],
)
_FLUSH_EVENTS = Histogram(
    "events_intake_flush_events", "Events that one commit of the intake held.", buckets=BATCH_SIZES
)
_FLUSH_SECONDS = Histogram("events_intake_flush_duration_seconds", "Time of one commit of the intake.", buckets=SECONDS)
FLUSH_FAILURES = Counter(
    "events_intake_flush_failures", "Commits of the intake that failed; their events were refused."
)
QUEUED = Gauge(
    "events_intake_queue_events",
    "Events that wait in the web processes for their commit.",
    multiprocess_mode="livesum",
)
FLUSHED_EVENTS = GatheredHistogram(_FLUSH_EVENTS, BATCH_SIZES)
FLUSHED_SECONDS = GatheredHistogram(_FLUSH_SECONDS, SECONDS)

PROCESSED = Counter("events_processing_events", "Events that were processed, those that failed included.")
PROCESSING_SECONDS = Histogram(
    "events_processing_batch_duration_seconds", "Time of one batch of processing, one transaction.", buckets=SECONDS
)
PROCESSING_FAILURES = Counter("events_processing_failed_attempts", "Attempts to process an event that failed.")

_outcomes: dict[str, GatheredCounter] = {}


def note_events(outcome: str, count: int) -> None:
    """`outcome`: `accepted`, `duplicate`, or the code of a problem."""
    counter = _outcomes.get(outcome)
    if counter is None:
        known = outcome if outcome in PROBLEM_TYPES else "internal_error"
        labels = (outcome, "") if outcome in ("accepted", "duplicate") else ("rejected", known)
        counter = _outcomes.setdefault(outcome, GatheredCounter(_EVENTS.labels(*labels)))
    counter.inc(count)


# From the start, so that the first one is an increase.
for _outcome in ("accepted", "duplicate"):
    note_events(_outcome, 0)
