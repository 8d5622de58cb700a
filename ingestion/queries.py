"""Which events a list shows, in the API, the console and exports, in a time that does not depend on how many there are.

Organization, exact type and time are conditions of an index. The start of a type becomes the few types that begin so,
each by the index; failed events are found by their failures, scheduled and cancelled ones by their schedules. Anything
else (source, subject, another status, a path in the data) has to look at events one by one, so it looks at
SCANNED_EVENTS at a time, newest first, says how far back it came, and goes on from there when asked. A
`statement_timeout` is the net under that: a few very large events can cost more than many small ones, so what takes too
long is tried once more with FEW_EVENTS.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import DataError, OperationalError, connection
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL
from django.shortcuts import get_object_or_404
from psycopg.errors import QueryCanceled

from core.event_ids import HIGHEST_ID, LOWEST_ID, lowest_id, time_of
from core.postgresql.statement_limits import short_statements
from core.problems import Problem
from ingestion.data_paths import has_brackets, json_path, steps_of, typed_and_text
from ingestion.models import LARGE_COLUMNS, Event, EventQuerySet, EventStatus, EventType, ProcessingFailure, Schedule
from ingestion.operations.catalogue import OTHER
from ingestion.operations.event_types import shown_event_types
from ingestion.stored_data import AS_JSONB
from organizations.models import TenantQuerySet

# Some 5 ms, of the largest of 200 organizations with 10 million events.
SCANNED_EVENTS = 5_000
SCANNED_DATA = 4_000
FEW_EVENTS = 50
TIMEOUT_MS = 2_000
# How far an event's id may be from the time that it was received.
_SLACK = timedelta(minutes=1)
MAX_MARKED = 1_000
# One look-up in the index each.
MAX_TYPES = 100
# Beyond so many that wait, have failed or are scheduled, events are looked at one by one instead.
MAX_UNSEEN = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _NEVER = _EPOCH + _SLACK, datetime(9999, 1, 1, tzinfo=UTC)
# Numbers and strings of JSON are different things, and people type neither quotes nor types.
_PATH = f"{AS_JSONB} #> %s::text[] IN (ingestion_jsonb(%s), ingestion_jsonb(%s))"
_JSON_PATH = f"""jsonb_path_exists(
    {AS_JSONB}, %s::jsonpath, jsonb_build_object('typed', ingestion_jsonb(%s), 'text', ingestion_jsonb(%s)), true
)"""
_ASKED_FOR = """organization_id = %(organization)s AND id >= %(low)s AND id < %(high)s
    AND received_at >= %(time_from)s AND received_at < %(time_to)s"""
# `type IN (…)` would have to read and sort all of them. What waits, or has failed, may be of a type that is not known.
_NEWEST_OF_TYPES = f"""
WITH known AS (
    SELECT name FROM ingestion_eventtype
    WHERE organization_id = %(organization)s AND starts_with(name, %(prefix)s) AND first_seen_at IS NOT NULL
    LIMIT %(types)s + 1
), unseen AS (
    (SELECT unnest(event_ids) AS id FROM ingestion_outboxentry LIMIT %(unseen)s + 1)
    UNION ALL
    (SELECT event_id FROM ingestion_processingfailure WHERE organization_id = %(organization)s LIMIT %(unseen)s + 1)
    UNION ALL
    (SELECT event_id FROM ingestion_schedule
     WHERE organization_id = %(organization)s AND status IN ('scheduled', 'cancelled') LIMIT %(unseen)s + 1)
), few AS (
    SELECT WHERE (SELECT count(*) FROM known) <= %(types)s AND (SELECT count(*) FROM unseen) <= %(unseen)s
        AND NOT EXISTS (
            SELECT FROM ingestion_eventtype WHERE organization_id = %(organization)s AND name = %(other)s
        )
)
SELECT newest.id
FROM few CROSS JOIN known CROSS JOIN LATERAL (
    SELECT id FROM ingestion_event WHERE type = known.name AND {_ASKED_FOR} ORDER BY id DESC LIMIT %(page)s
) AS newest
UNION
SELECT id FROM few CROSS JOIN unseen JOIN ingestion_event USING (id)
WHERE starts_with(type, %(prefix)s) AND {_ASKED_FOR}
ORDER BY id DESC LIMIT %(page)s
"""  # noqa: S608 - the conditions are our own


@dataclass(frozen=True, kw_only=True)
class EventCriteria:
    """`type` may end in `*`; `path` is a dotted path in the data, whose value is `value`; ids below `before`.

    `time_from` is inclusive, `time_to` exclusive. What is empty or None is not asked for.
    """

    type: str = ""
    source: str = ""
    subject: str = ""
    status: str = ""
    time_from: datetime | None = None
    time_to: datetime | None = None
    path: str = ""
    value: str = ""
    before: UUID | None = None

    @property
    def is_prefix(self) -> bool:
        return self.type.endswith("*") and self.type != "*"

    @property
    def is_indexed(self) -> bool:
        """Whether an index knows which events are meant; else they have to be searched for."""
        return not (self.is_prefix or self.source or self.subject or self.status or self.path)


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """A page of events without their data, newest first; `older` is the position to go on from, or None at the end.

    `looked_back_to`: the page is not full, because only so much was looked at. `timed_out`: nothing was found in time.
    """

    events: list[Event]
    older: UUID | None = None
    looked_back_to: datetime | None = None
    timed_out: bool = False


def own_event(organization_id: UUID, event_id: UUID) -> Event:
    """With its status; Http404 for another organization's."""
    return get_object_or_404(Event.objects.for_organization(organization_id).with_status(), pk=event_id)


def own_event_type(organization_id: UUID, **wanted: str | int) -> EventType:
    """By `name` or `pk`, with its organization; Http404 for another's, and for what is not shown."""
    return get_object_or_404(shown_event_types(organization_id).select_related("organization"), **wanted)


def search_events(organization_id: UUID, wanted: EventCriteria, *, size: int) -> EventPage:
    """At most `size` of an organization's events, with their status."""
    for scanned in (SCANNED_DATA if wanted.path else SCANNED_EVENTS, FEW_EVENTS):
        try:
            with short_statements(TIMEOUT_MS):
                return _search(organization_id, wanted, size, scanned)
        except DataError:
            # A value that PostgreSQL cannot hold, so no event has it.
            return EventPage(events=[])
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
    return EventPage(events=[], timed_out=True)


def events_to_read(organization_id: UUID, wanted: EventCriteria, *, size: int) -> tuple[EventQuerySet, UUID | None]:
    """Events with their status, in any order, to be read in portions, and the position to go on from after the last.

    What no index answers is searched for before: at most `size` events, and often none. 503 when not even a few could
    be looked at in time.
    """
    if wanted.is_indexed:
        return select_events(organization_id, wanted).with_status(), None
    found = search_events(organization_id, wanted, size=size)
    if found.timed_out:
        raise Problem("service_unavailable", headers={"Retry-After": "1"})
    events = Event.objects.for_organization(organization_id).filter(pk__in=[event.pk for event in found.events])
    # Once more with the status: what has moved on meanwhile is not what was asked for.
    return (events.of_status(EventStatus(wanted.status)) if wanted.status else events).with_status(), found.older


def events_among(organization_id: UUID, wanted: EventCriteria, ids: Collection[UUID]) -> EventQuerySet:
    """Those of a bounded number of events that are asked for, with their status, in any order."""
    events = _one_by_one(select_events(organization_id, wanted), wanted)
    return events.filter(pk__in=ids).with_status()


def newest_of_all(wanted: EventCriteria, *, size: int) -> EventPage:
    """A page of everybody's events, for staff; only the time can be chosen."""
    found = list(_newest(_in_time(Event.objects.all(), wanted), size).select_related("organization"))
    return EventPage(events=found[:size], older=found[size - 1].pk if len(found) > size else None)


def select_events(organization_id: UUID, wanted: EventCriteria) -> EventQuerySet:
    """By what an index knows: organization, exact type, time and position."""
    events = _in_time(Event.objects.for_organization(organization_id), wanted)
    return events.of_type(wanted.type) if wanted.type and not wanted.type.endswith("*") else events


def _search(organization_id: UUID, wanted: EventCriteria, size: int, scanned: int) -> EventPage:
    events = select_events(organization_id, wanted)
    floor = None
    if wanted.status in {EventStatus.FAILED, EventStatus.SCHEDULED, EventStatus.CANCELLED}:
        # Only what they are searched for decides whether more are needed than fit on the page.
        is_searched = wanted.type or wanted.source or wanted.subject or wanted.path
        looked_at = min(scanned, MAX_MARKED) if is_searched else size + 1
        marked = _marked(organization_id, wanted, looked_at)
        events = events.filter(pk__in=marked)
        floor = marked[-1] if len(marked) == looked_at else None
    elif not wanted.is_indexed:
        is_only_prefix = not (wanted.source or wanted.subject or wanted.status or wanted.path)
        if is_only_prefix and (ids := _newest_of_types(organization_id, wanted, size)):
            return _page(_newest(events.filter(pk__in=ids), size), size, None)
        floor = _floor(organization_id, wanted, scanned)
    if floor is not None:
        events = events.filter(pk__gte=floor)
    return _page(_newest(_one_by_one(events, wanted), size), size, floor)


def _page(rows: EventQuerySet, size: int, floor: UUID | None) -> EventPage:
    """`floor` is the oldest event that was looked at, when there may be older ones."""
    found = list(rows)
    if len(found) > size:
        return EventPage(events=found[:size], older=found[size - 1].pk)
    return EventPage(events=found, older=floor, looked_back_to=time_of(floor) if floor else None)


def _floor(organization_id: UUID, wanted: EventCriteria, size: int) -> UUID | None:
    """The oldest of the newest `size` events that are to be looked at; None when there are less.

    By ids alone, which an index answers without reading the events: the exact time would have it read each.
    """
    low, high = id_bounds(wanted)
    events = Event.objects.for_organization(organization_id).filter(pk__gte=low, pk__lt=high)
    if wanted.type and not wanted.type.endswith("*"):
        events = events.of_type(wanted.type)
    return events.order_by("-pk").values_list("pk", flat=True)[size - 1 : size].first()


def _newest_of_types(organization_id: UUID, wanted: EventCriteria, size: int) -> list[UUID]:
    """Of the types that begin so, as processing has seen them. None when there are too many of them or none yet."""
    low, high = id_bounds(wanted)
    values: dict[str, Any] = {
        "organization": organization_id,
        "prefix": wanted.type[:-1],
        "types": MAX_TYPES,
        "unseen": MAX_UNSEEN,
        "other": OTHER,
        "low": low,
        "high": high,
        "time_from": wanted.time_from or _EPOCH,
        "time_to": wanted.time_to or _NEVER,
        "page": size + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST_OF_TYPES, values)
        return [row[0] for row in cursor]


def _marked(organization_id: UUID, wanted: EventCriteria, size: int) -> list[UUID]:
    """The newest events that a row beside them gives the status that is asked for, in that time, from that position."""
    low, high = id_bounds(wanted)
    marks: TenantQuerySet[Any] = ProcessingFailure.objects.all()
    if wanted.status != EventStatus.FAILED:
        marks = Schedule.objects.filter(status=wanted.status)
    rows = marks.for_organization(organization_id).filter(event_id__gte=low, event_id__lt=high)
    return list(rows.order_by("-event_id").values_list("event_id", flat=True)[:size])


def _in_time(events: EventQuerySet, wanted: EventCriteria) -> EventQuerySet:
    """Time bounds are bounds of the id too: they prune partitions, and the index ends there."""
    low, high = id_bounds(wanted)
    events = events.filter(pk__gte=low, pk__lt=high)
    if wanted.time_from:
        events = events.filter(received_at__gte=wanted.time_from)
    if wanted.time_to:
        events = events.filter(received_at__lt=wanted.time_to)
    return events


def id_bounds(wanted: EventCriteria) -> tuple[UUID, UUID]:
    """The first is inclusive, the second exclusive."""
    low = lowest_id(max(wanted.time_from, _FIRST) - _SLACK) if wanted.time_from else LOWEST_ID
    time_to = lowest_id(min(wanted.time_to, _NEVER) + _SLACK) if wanted.time_to else HIGHEST_ID
    return low, min(time_to, wanted.before or HIGHEST_ID)


def _one_by_one(events: EventQuerySet, wanted: EventCriteria) -> EventQuerySet:
    if wanted.is_prefix:
        events = events.of_type(wanted.type)
    if wanted.source:
        events = events.filter(source=wanted.source)
    if wanted.subject:
        events = events.filter(subject=wanted.subject)
    if wanted.status:
        events = events.of_status(EventStatus(wanted.status))
    if wanted.path:
        events = events.filter(value_at(wanted.path, wanted.value))
    return events


def _newest(events: EventQuerySet, size: int) -> EventQuerySet:
    return events.with_status().defer(*LARGE_COLUMNS).order_by("-pk")[: size + 1]


def value_at(path: str, value: str) -> RawSQL:
    """Whether the data of an event has that value at that path."""
    typed, text = typed_and_text(value)
    if has_brackets(path):
        return RawSQL(_JSON_PATH, [json_path(path), typed, text], output_field=BooleanField())  # noqa: S611 - a constant
    return RawSQL(_PATH, [steps_of(path), typed, text], output_field=BooleanField())  # noqa: S611 - likewise
