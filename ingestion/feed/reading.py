"""Reads events in an order that can be gone on from: docs/adr/0028.

Ids are made before their rows are committed, so a row may appear behind one with a higher id that was sent already. The
numbers of transactions are no such order either, until no older transaction is running: then nothing can appear before
a row any more, and it is settled. Read are settled events alone, by (number of transaction, id).

No index knows the numbers. But an event gets its number at most SETTLED after its id, so what comes after an event has
ids from SETTLED before its own on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from core.event_ids import HIGHEST_ID, LOWEST_ID, lowest_id, time_of
from core.postgresql.arrays import uuid_array
from ingestion.models import Event

SETTLED = timedelta(seconds=10)
# How far back a reader can begin.
REACH = timedelta(hours=1)
# Of a transaction that is running when a reader begins, rows with ids that are so old at most are found.
_LONGEST_TRANSACTION = timedelta(minutes=1)
ROWS_A_READ = 1_000
# A reader that is far behind sorts so many rows at a time, and those of the 20 s after them.
_ROWS_A_STEP = 5_000

# The column has the lower 32 bits of the number; none is further back than 2^32.
_NUMBER = "moment.next - ((moment.next - event.xmin::text::bigint) & 4294967295)"
_MOMENT = """
SELECT pg_snapshot_xmax(now)::text::bigint AS next, pg_snapshot_xmin(now)::text::bigint AS settled
FROM pg_current_snapshot() AS now
"""
_READ = f"""
WITH moment AS MATERIALIZED ({_MOMENT})
SELECT reader.place, moment.settled, event.id, event.number, event.type, event.source, event.subject
FROM moment CROSS JOIN unnest(
    %(organizations)s::uuid[], %(numbers)s::bigint[], %(ids)s::uuid[], %(since)s::uuid[]
) WITH ORDINALITY AS reader (organization_id, number, id, since, place)
CROSS JOIN LATERAL (
    SELECT numbered.* FROM (
        SELECT event.id, event.type, event.source, event.subject, {_NUMBER} AS number
        FROM ingestion_event AS event
        WHERE event.organization_id = reader.organization_id AND event.id >= reader.since AND event.id < %(end)s
    ) AS numbered
    WHERE (numbered.number, numbered.id) > (reader.number, reader.id)
    ORDER BY numbered.number, numbered.id LIMIT {ROWS_A_READ}
) AS event
ORDER BY reader.place, event.number, event.id
"""  # noqa: S608 - constants
_NUMBER_OF = f"""
WITH moment AS MATERIALIZED ({_MOMENT})
SELECT {_NUMBER} FROM moment, ingestion_event AS event WHERE event.id = %s AND event.organization_id = %s
"""  # noqa: S608 - likewise


class Row(NamedTuple):
    """An event as filters see it, and the number of its transaction."""

    number: int
    id: UUID
    type: str
    source: str | None
    subject: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """All up to (`number`, `event_id`) was read. What was not has no id below `since`."""

    number: int
    event_id: UUID
    since: UUID

    def is_before(self, row: Row) -> bool:
        return (self.number, self.event_id) < (row.number, row.id)

    def after(self, row: Row) -> "Place":
        since = max(self.since, lowest_id(time_of(row.id) - SETTLED))
        return Place(number=row.number, event_id=row.id, since=since)


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """`is_last`: nothing more was there, but for what is not settled."""

    rows: list[Row]
    place: Place
    is_last: bool


def place_now(now: datetime) -> Place:
    """Of who wants what is committed from now on."""
    with connection.cursor() as cursor:
        cursor.execute(_MOMENT)
        settled: int = cursor.fetchone()[1]
    return Place(number=settled, event_id=LOWEST_ID, since=lowest_id(now - _LONGEST_TRANSACTION))


def place_after(organization_id: UUID, event_id: UUID, now: datetime) -> Place:
    """Of who has this event, and all before it; of one that is gone, all with lower ids. REACH back at most."""
    oldest = lowest_id(now - REACH)
    with connection.cursor() as cursor:
        cursor.execute(_NUMBER_OF, [event_id, organization_id])
        found = cursor.fetchone()
    if found is None:
        # Ids from the future would leave out what comes until then.
        since = min(UUID(int=min(event_id.int + 1, HIGHEST_ID.int)), lowest_id(now - SETTLED))
        return Place(number=0, event_id=LOWEST_ID, since=max(since, oldest))
    return Place(number=found[0], event_id=event_id, since=max(oldest, lowest_id(time_of(event_id) - SETTLED)))


def read_new(places: Sequence[tuple[UUID, Place]], *, end: UUID = HIGHEST_ID) -> list[Read]:
    """What came after each (organization, place), by one statement; ROWS_A_READ at most for each."""
    values: dict[str, Any] = {
        "organizations": uuid_array(organization_id for organization_id, _ in places),
        "numbers": [place.number for _, place in places],
        "ids": uuid_array(place.event_id for _, place in places),
        "since": uuid_array(place.since for _, place in places),
        "end": end,
    }
    found: list[list[Row]] = [[] for _ in places]
    counts = [0] * len(places)
    with connection.cursor() as cursor:
        cursor.execute(_READ, values)
        for reader, settled, event_id, number, *fields in cursor:
            counts[reader - 1] += 1
            if number < settled:
                found[reader - 1].append(Row(number, event_id, *fields))
    return [
        Read(
            rows=rows,
            place=place.after(rows[-1]) if rows else place,
            # What is not settled comes last.
            is_last=count < ROWS_A_READ or len(rows) < count,
        )
        for rows, count, (_, place) in zip(found, counts, places, strict=True)
    ]


def read_behind(organization_id: UUID, place: Place) -> Read:
    """The next of a reader who may be far behind."""
    events = Event.objects.for_organization(organization_id).filter(pk__gte=place.since)
    step = _ROWS_A_STEP
    while (far := events.order_by("pk").values_list("pk", flat=True)[step : step + 1].first()) is not None:
        # Those of the last 10 s may come after others that lie beyond the end.
        (read,) = read_new([(organization_id, place)], end=lowest_id(time_of(far) + 2 * SETTLED))
        sure = lowest_id(time_of(far) + SETTLED)
        last = max((number for number, row in enumerate(read.rows) if row.id < sure), default=None)
        if last is not None:
            return Read(rows=read.rows[: last + 1], place=place.after(read.rows[last]), is_last=False)
        step *= 4
    return read_new([(organization_id, place)])[0]
