"""Commit events with one statement: the events, the claims of their idempotency keys, their outbox entry.

Measured with 1 to 1 000 events a statement, the arrays below are as fast as COPY or faster (docs/adr/0006), so there
is one way for one event and for many.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
from django.conf import settings
from django.utils import timezone
from msgspec import Struct, field
from uuid_utils.compat import uuid7

from core.event_ids import new_event_id
from core.ports import PatientDatabase
from core.postgresql.arrays import array, text_array, uuid_array
from core.postgresql.faults import is_passing
from core.problems import Problem, invalid
from ingestion.fields import CONTENT_NAMES, FIELDS
from ingestion.formats.decoding import DecodedEvent, Due
from ingestion.models import EventStatus
from ingestion.stored_data import AS_JSONB, OLDER_CODE_MAY_RUN

# A held key whose claim expires or vanishes at this very moment is tried again; more often than this is a fault.
_TRIES = 3

# An event that meets a partition while it is attached fits a moment later. All other writing waits meanwhile.
_PARTITION_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4)

# Annotations that are equal, such as the headers of a batch, come once and by their number: parsed for each event they
# would take a third of the time. Only some of them, since PostgreSQL walks through an array to find an element.
SHARED_ANNOTATIONS = 32

_NAMES = ", ".join(field.name for field in FIELDS)
_ARRAYS = ", ".join(f"%({field.name})s::{field.sql_type}[]" for field in FIELDS)


def _content_of(alias: str) -> str:
    return ", ".join(f"{alias}.{name}" for name in CONTENT_NAMES)


# Claims are made in the order of the primary key, so that two processes never wait for each other crosswise.
_STATEMENT = f"""
WITH given AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(organizations)s::uuid[], {_ARRAYS}, %(data)s::text[], %(fingerprints)s::bytea[],
        %(annotations)s::text[], %(shares)s::int[], %(rounded)s::text[]
    ) AS given (id, organization_id, {_NAMES}, data, fingerprint, annotations, share, rounded)
){{due}}, claimed AS (
    INSERT INTO ingestion_idempotencykey AS held (organization_id, key, event_id, fingerprint, expires_at)
    SELECT organization_id, idempotency_key, id, fingerprint, %(expires_at)s FROM given
    WHERE idempotency_key IS NOT NULL ORDER BY organization_id, idempotency_key COLLATE "C"
    ON CONFLICT (organization_id, key) DO UPDATE
    SET event_id = excluded.event_id, fingerprint = excluded.fingerprint, expires_at = excluded.expires_at
    WHERE held.expires_at <= %(received_at)s
    RETURNING event_id
), stored AS (
    INSERT INTO ingestion_event
        (id, organization_id, {_NAMES}, data_text, data, received_at, batch_id, annotations)
    SELECT id, organization_id, {_NAMES}, data,
           CASE WHEN {OLDER_CODE_MAY_RUN} THEN coalesce(rounded, data)::jsonb END,
           %(received_at)s, {{batch}}, coalesce((%(shared)s::jsonb[])[share], annotations::jsonb)
    FROM given WHERE idempotency_key IS NULL OR id IN (SELECT event_id FROM claimed)
    RETURNING id
){{scheduled}}, queued AS (
    INSERT INTO ingestion_outboxentry (id, event_ids, created_at)
    SELECT %(batch)s, array_agg(id), %(received_at)s FROM stored {{waiting}} HAVING count(*) > 0
)
{{result}}
"""  # noqa: S608 - the names are our own
_STORE = _STATEMENT.format(due="", batch="%(batch)s", scheduled="", waiting="", result="SELECT id, NULL FROM stored")
# What PostgreSQL's clock says is due already is an event like any other. The others get an outbox entry of their own
# later, by which they are told to be accepted then.
_STORE_AND_SCHEDULE = _STATEMENT.format(
    due=""", due AS (
    SELECT id, deliver_at FROM (
        SELECT id, coalesce(deliver_at, statement_timestamp() + make_interval(secs => delay)) AS deliver_at
        FROM unnest(%(ids)s::uuid[], %(times)s::timestamptz[], %(delays)s::float8[]) AS wanted (id, deliver_at, delay)
    ) AS wanted WHERE deliver_at > statement_timestamp()
)""",
    batch="CASE WHEN id IN (SELECT id FROM due) THEN id ELSE %(batch)s::uuid END",
    scheduled=""", scheduled AS (
    INSERT INTO ingestion_schedule (event_id, organization_id, deliver_at, status)
    SELECT id, organization_id, deliver_at, 'scheduled' FROM stored JOIN due USING (id) JOIN given USING (id)
)""",
    waiting="WHERE id NOT IN (SELECT id FROM due)",
    result="SELECT id, deliver_at FROM stored LEFT JOIN due USING (id)",
)

# `same`: equal, or equal as JSON though the text differs. Without `received_at` the event has left.
_HELD = f"""
SELECT wanted.number, held.event_id, event.received_at, schedule.deliver_at, schedule.status,
       held.fingerprint = wanted.fingerprint OR
       ({_content_of("event")}, {AS_JSONB}, event.annotations -> 'attributes', event.annotations -> 'schedule')
       IS NOT DISTINCT FROM
       ({_content_of("wanted")}, ingestion_jsonb(wanted.sent), wanted.kept -> 'attributes', wanted.kept -> 'schedule')
       AS same
FROM (
    SELECT *, coalesce((%(shared)s::jsonb[])[share], given::jsonb) AS kept
    FROM unnest(
        %(organizations)s::uuid[], {_ARRAYS}, %(data)s::text[], %(fingerprints)s::bytea[], %(annotations)s::text[],
        %(shares)s::int[]
    ) WITH ORDINALITY AS wanted (organization_id, {_NAMES}, sent, fingerprint, given, share, number)
) AS wanted
JOIN ingestion_idempotencykey AS held
  ON held.organization_id = wanted.organization_id AND held.key = wanted.idempotency_key
LEFT JOIN ingestion_event AS event ON event.id = held.event_id
LEFT JOIN ingestion_schedule AS schedule ON schedule.event_id = held.event_id AND schedule.status <> 'handed_on'
"""  # noqa: S608 - the names are our own


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A committed event: a new one, or the earlier one with the same idempotency key.

    Its status is accepted, or what its schedule says: scheduled or cancelled, with the time of it.
    """

    id: UUID
    received_at: datetime
    duplicate: bool = False
    status: EventStatus = EventStatus.ACCEPTED
    deliver_at: datetime | None = None


WriteOutcome = Accepted | Problem


class Incoming(Struct, frozen=True, eq=False):
    """An event on its way into the database.

    Both are JSON texts: `schema_errors` is what a schema in `warn` mode found, `origin` an object of what its request
    leaves with each of its events.
    """

    organization_id: UUID
    event: DecodedEvent
    schema_errors: str | None = None
    origin: str | None = None
    id: UUID = field(default_factory=new_event_id)

    @property
    def claim(self) -> tuple[UUID, str] | None:
        """What must be its own: the idempotency key within the organization; None without a key."""
        key = self.event.idempotency_key
        return None if key is None else (self.organization_id, key)

    @property
    def annotations(self) -> str | None:
        """The event's own annotations, the schema's findings and the request's, as one JSON object."""
        found = None if self.schema_errors is None else f'{{"schema_errors":{self.schema_errors}}}'
        objects = [text for text in (self.origin, found, self.event.annotations) if text is not None]
        if len(objects) > 1:
            return "{" + ",".join(text[1:-1] for text in objects) + "}"
        return objects[0] if objects else None


async def store(database: PatientDatabase, events: Sequence[Incoming]) -> list[WriteOutcome]:
    """Commit what can be committed; returns each event's outcome, in order.

    An outcome is an Accepted, or Problem 409 (reused key), 410 (the key's event has left), 422 (PostgreSQL cannot hold
    it: this event alone), 503.
    Raises psycopg's OperationalError when PostgreSQL is away: then nothing is known to be committed.
    """
    outcomes: dict[Incoming, WriteOutcome] = {}
    for _ in range(_TRIES):
        outcomes |= await _write(database, _one_per_claim(event for event in events if event not in outcomes))
        if held := [event for event in events if event not in outcomes]:
            outcomes |= await _resolve_held(database, held)
        if len(outcomes) == len(events):
            break
    return [outcomes.get(event) or Problem("service_unavailable", headers={"Retry-After": "1"}) for event in events]


def _one_per_claim(events: Iterable[Incoming]) -> list[Incoming]:
    """The first event of each idempotency key: one statement cannot claim a key twice. The others find it held."""
    first: dict[object, Incoming] = {}
    for event in events:
        first.setdefault(event.claim or event, event)
    return list(first.values())


async def _write(
    database: PatientDatabase, events: Sequence[Incoming], pauses: Sequence[float] = _PARTITION_PAUSES
) -> dict[Incoming, WriteOutcome]:
    """The outcomes of those that are stored. A row that PostgreSQL refuses is found by halving, and fails alone.

    After each of `pauses` events that met a partition try again. Raises psycopg's OperationalError when that takes
    longer: no event is to blame for it.
    """
    received_at = timezone.now()
    columns = {**_columns(events), **_moments(received_at)}
    statement = _STORE
    if any(event.event.due is not None for event in events):
        statement, columns = _STORE_AND_SCHEDULE, {**columns, **_due_columns(events)}
    try:
        rows = await database.fetch(statement, columns)
    except (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded) as error:
        # Its id is the platform's own, so one that is there already is no fault of the event's either.
        if isinstance(error, psycopg.IntegrityError) and (
            is_passing(error) or isinstance(error, psycopg.errors.UniqueViolation)
        ):
            if not pauses:
                raise psycopg.OperationalError(f"events could not be stored: {type(error).__name__}") from error
            await database.pause(pauses[0])
            return await _write(database, events, pauses[1:])
        if len(events) == 1:
            return {events[0]: invalid("/data", "unstorable", "PostgreSQL cannot store this event.")}
        middle = len(events) // 2
        return await _write(database, events[:middle]) | await _write(database, events[middle:])
    # The numbers, because a UUID hashes in Python.
    stored = {event_id.int: deliver_at for event_id, deliver_at in rows}
    return {event: _accepted(event.id, received_at, stored[event.id.int]) for event in events if event.id.int in stored}


def _accepted(event_id: UUID, received_at: datetime, deliver_at: datetime | None) -> Accepted:
    if deliver_at is None:
        return Accepted(id=event_id, received_at=received_at)
    return Accepted(id=event_id, received_at=received_at, status=EventStatus.SCHEDULED, deliver_at=deliver_at)


async def _resolve_held(database: PatientDatabase, events: Sequence[Incoming]) -> dict[Incoming, WriteOutcome]:
    """Their keys are held by other events: the same content is a duplicate, another is a conflict, a gone one is 410.

    An event whose claim has just gone gets no outcome: the next try takes the key.
    """
    outcomes: dict[Incoming, WriteOutcome] = {}
    for number, event_id, received_at, deliver_at, status, same in await database.fetch(_HELD, _columns(events)):
        event = events[number - 1]
        if received_at is None:
            outcomes[event] = Problem("event_erased")
        elif same:
            outcomes[event] = Accepted(
                id=event_id,
                received_at=received_at,
                duplicate=True,
                status=EventStatus(status or EventStatus.ACCEPTED),
                deliver_at=deliver_at,
            )
        else:
            outcomes[event] = Problem("idempotency_key_reused")
    return outcomes


def _columns(events: Sequence[Incoming]) -> dict[str, object]:
    decoded = [event.event for event in events]
    return {
        "ids": uuid_array(event.id for event in events),
        "organizations": uuid_array(event.organization_id for event in events),
        **{field.name: text_array(map(field.text, decoded)) for field in FIELDS},
        "data": text_array(event.data for event in decoded),
        "rounded": text_array(event.rounded for event in decoded),
        "fingerprints": array(
            "NULL" if event.idempotency_key is None else f'"\\\\x{event.fingerprint.hex()}"' for event in decoded
        ),
        **_annotation_columns([event.annotations for event in events]),
    }


def _due_columns(events: Sequence[Incoming]) -> dict[str, object]:
    dues = [event.event.due or Due("") for event in events]
    return {
        "times": text_array(due.deliver_at.isoformat() if due.deliver_at else None for due in dues),
        "delays": array("NULL" if due.delay_seconds is None else str(due.delay_seconds) for due in dues),
    }


def _annotation_columns(annotations: Sequence[str | None]) -> dict[str, object]:
    """The first that differ are shared: `shares` are their places in `shared`, from 1. The others come as they are."""
    shared: dict[str | None, int] = {}
    for text in annotations:
        if text is not None and text not in shared and len(shared) < SHARED_ANNOTATIONS:
            shared[text] = len(shared) + 1
    return {
        "annotations": text_array(None if text in shared else text for text in annotations),
        "shares": array(str(shared.get(text, "NULL")) for text in annotations),
        "shared": text_array(shared),
    }


def _moments(received_at: datetime) -> dict[str, object]:
    return {
        "received_at": received_at,
        "expires_at": received_at + timedelta(hours=settings.IDEMPOTENCY_HOURS),
        "batch": uuid7(),
    }
