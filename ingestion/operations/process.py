"""Process accepted events: count them, catalogue their types, hand them to the handlers. One transaction a batch."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models.functions import Now

from core.log_lines import log_line
from core.postgresql.arrays import uuid_array
from core.postgresql.faults import is_passing
from core.postgresql.floors import Floors
from core.registry import Registry
from core.tracing import batch_span
from ingestion.fields import MatchedFields
from ingestion.metrics import PROCESSED, PROCESSING_FAILURES, PROCESSING_SECONDS
from ingestion.models import ProcessingFailure, hour_of
from ingestion.operations.catalogue import OTHER, SeenTogether, add_counts, types_to_fold
from ingestion.positions import PLACES, TAKE
from ingestion.trace_contexts import contexts_of

logger = logging.getLogger(__name__)
# A batch's transaction stays short, so that a lost worker costs little work, and others' events wait for it no longer
# than for a request with as many. Entries hold 1 to 1 000 events.
ENTRIES_PER_CLAIM = 50
EVENTS_PER_BATCH = 500
SMALL_ENTRY = 50
FAILURES_PER_BATCH = 200
FIRST_RETRY = timedelta(seconds=10)
_by_id = attrgetter("id")


class StoredEvent(MatchedFields, frozen=True):
    """What processing knows of an event. Not its data: handlers that need it read it, in bounded portions."""

    id: UUID
    organization_id: UUID
    received_at: datetime
    # Where it is in the order in which events were accepted (ingestion.positions).
    position: int


# Called in turn with each batch of processed events, inside the transaction that processes it.
event_handlers: Registry[Callable[[Sequence[StoredEvent]], None]] = Registry()

# Of the outbox, which is one queue.
_floors: Floors[None] = Floors()
# A lock that each batch shares until it is committed, from before it calls the handlers; see wait_for_batches().
_BATCHES = 6_412_270_031
_RUNNING = f"running AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared({_BATCHES}))"
_STORED = ", ".join(f"event.{name}" for name in StoredEvent.__struct_fields__ if name != "position")
# The oldest entries with their events; of one that retention has taken meanwhile nothing but its entry is left. Small
# ones go before large ones of the last second, which are left to a batch of their own: whoever sends one event does not
# wait for a thousand of somebody else's. By the clock of a host that is wrong none can wait.
_CLAIM = f"""
WITH {_RUNNING}, oldest AS MATERIALIZED (
    SELECT id, created_at, cardinality(event_ids) AS size FROM ingestion_outboxentry
    WHERE created_at >= %(floor)s ORDER BY created_at LIMIT %(entries)s FOR UPDATE SKIP LOCKED
), judged AS (
    SELECT *, size > {SMALL_ENTRY} AND abs(extract(epoch FROM now() - created_at)) < 1 AS can_wait FROM oldest
), ranked AS (
    SELECT *, sum(size) OVER (ORDER BY can_wait, created_at, id) - size AS before FROM judged
), claimed AS (
    DELETE FROM ingestion_outboxentry AS entry USING ranked
    WHERE entry.id = ranked.id AND before < %(events)s
          AND (NOT can_wait OR before + size <= %(events)s OR (before = 0 AND %(is_first)s))
    RETURNING entry.event_ids, entry.created_at, entry.position * {PLACES} AS first
)
SELECT (SELECT count(*) FROM oldest, running), (SELECT count(*) FROM claimed), claimed.created_at,
       {_STORED}, claimed.first + named.place - 1
FROM claimed CROSS JOIN LATERAL unnest(event_ids) WITH ORDINALITY AS named (id, place)
LEFT JOIN LATERAL (SELECT * FROM ingestion_event WHERE ingestion_event.id = named.id LIMIT 1) AS event ON true
"""  # noqa: S608 - the names are our own
# They come after all that was accepted meanwhile. The bounds keep the search to the partitions that matter.
_LOAD = f"""
WITH {_RUNNING}
SELECT {_STORED}, {TAKE} FROM (
    SELECT * FROM ingestion_event, running
    WHERE id = ANY(%(ids)s::uuid[]) AND id >= %(first)s AND id <= %(last)s ORDER BY id
) AS event
"""  # noqa: S608 - the names are our own


def process_outbox(*, batches: int = 100) -> int:
    """Process what waits, at most `batches` batches; returns how many events. Safe to run anywhere at any time."""
    processed = 0
    for _ in range(batches):
        started = time.perf_counter()
        count, is_last = _process_batch()
        if count:
            PROCESSING_SECONDS.observe(time.perf_counter() - started)
            PROCESSED.inc(count)
            processed += count
        if is_last:
            break
    return processed


def wait_for_batches() -> None:
    """Call in a transaction: until it ends no batch is processed. Those that ran before are committed now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_BATCHES])


def retry_failed(*, now: datetime | None = None) -> int:
    """Try failed events that are due once more, by PostgreSQL's clock; returns how many were processed."""
    due = ProcessingFailure.objects.filter(next_attempt_at__lte=now or Now())
    with transaction.atomic():
        claimed = due.select_for_update(skip_locked=True).order_by("pk")[:FAILURES_PER_BATCH]
        failures = {failure.event_id: failure for failure in claimed}
        events = _load(failures)
        return sum(_process_one(event, failures[event.id]) for event in events)


def _process_batch() -> tuple[int, bool]:
    """Claim entries, process their events: all of it or nothing. A claimed entry is gone when that is committed.

    Returns how many events, and whether no more waited.
    """
    try:
        return _claimed(_process)
    except SoftTimeLimitExceeded:
        raise  # the task's time is over, whatever it waited for
    except Exception as error:
        if is_passing(error):
            raise  # PostgreSQL's trouble, not the events': the batch stays in the outbox
        logger.exception("a batch of events failed; processing them one by one")
    return _claimed(_process_each)


@transaction.atomic
def _claimed(process: Callable[[Sequence[StoredEvent]], None]) -> tuple[int, bool]:
    count, is_last, events = _claim()
    if events:
        ids = [event.id for event in events]
        with batch_span("process events", count=len(ids), contexts=lambda: contexts_of(ids)):
            process(events)
    return count, is_last


def _claim() -> tuple[int, bool, list[StoredEvent]]:
    """The oldest entries that nobody else has: how many events they name, whether no more waited, and the events.

    EVENTS_PER_BATCH, and what the last entry has beyond; in the order of their ids.
    """
    count, is_last = 0, False
    events: list[StoredEvent] = []
    with connection.cursor() as cursor:
        while not is_last and (left := EVENTS_PER_BATCH - count) > 0:
            _floors.begin()
            cursor.execute(
                _CLAIM,
                {"floor": _floors.of(None), "entries": ENTRIES_PER_CLAIM, "events": left, "is_first": not count},
            )
            rows = cursor.fetchall()
            _floors.end({None: min(row[2] for row in rows)} if rows else {})
            found, claimed = rows[0][:2] if rows else (0, 0)
            events += [StoredEvent(*columns) for _, _, _, *columns in rows if columns[0] is not None]
            count += len(rows)
            if claimed < found or (count and not rows):
                break
            is_last = found < ENTRIES_PER_CLAIM
    return count, is_last, sorted(events, key=_by_id)


def _load(ids: Collection[UUID]) -> list[StoredEvent]:
    if not ids:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_LOAD, {"ids": uuid_array(ids), "first": min(ids), "last": max(ids)})
        return [StoredEvent(*row) for row in cursor]


def _process(events: Sequence[StoredEvent]) -> None:
    """The counts come last: their rows are everybody's, and held until the commit."""
    for handler in event_handlers:
        handler(events)
    _count(events)


def _process_each(events: Sequence[StoredEvent]) -> None:
    for event in events:
        _process_one(event, None)


def _process_one(event: StoredEvent, failure: ProcessingFailure | None) -> bool:
    """Process one event; a fault of its own is recorded and blocks no other event."""
    try:
        with transaction.atomic():
            _process([event])
            if failure is not None:
                failure.delete()
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        if is_passing(error):
            raise
        _record_failure(event, failure, error)
        return False
    return True


def _record_failure(event: StoredEvent, failure: ProcessingFailure | None, error: Exception) -> None:
    attempts = failure.attempts + 1 if failure else 1
    again = attempts < settings.PROCESSING_MAX_ATTEMPTS
    # A database's message may quote the row, and so the tenant's data: only its kind is kept.
    text = type(error).__name__ if isinstance(error, Error) else f"{type(error).__name__}: {error}"
    ProcessingFailure.objects.update_or_create(
        event_id=event.id,
        defaults={
            "organization_id": event.organization_id,
            "error": text[:2000],
            "attempts": attempts,
            "failed_at": Now(),
            "next_attempt_at": Now() + FIRST_RETRY * 2 ** (attempts - 1) if again else None,
        },
    )
    PROCESSING_FAILURES.inc()
    log_line(
        logger,
        "an event could not be processed",
        level=logging.ERROR,
        event_id=event.id,
        organization_id=event.organization_id,
        attempt=attempts,
        error=type(error).__name__,
    )


def _count(events: Sequence[StoredEvent]) -> None:
    """Those of an organization, a type and an hour together."""
    folded = types_to_fold({(event.organization_id, event.type) for event in events})
    groups: dict[tuple[UUID, str, datetime], list[datetime]] = {}
    for event in events:
        name = OTHER if (event.organization_id, event.type) in folded else event.type
        groups.setdefault((event.organization_id, name, hour_of(event.received_at)), []).append(event.received_at)
    add_counts([SeenTogether(*key, min(times), max(times), len(times)) for key, times in groups.items()])
