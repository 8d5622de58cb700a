"""Which events a list of the console shows, in a time that does not depend on how many there are.

Organization, exact type and time are conditions of an index. The start of a type becomes the few types that begin so,
each by the index, and failed events are found by their failures. Anything else (source, subject, another status, a path
in the data) has to look at events one by one, so it looks at SCANNED_EVENTS at a time, newest first, says how far back
it came, and goes on from there when asked. A `statement_timeout` is the net under that: a few very large events can
cost more than many small ones.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import DataError, OperationalError, connection, transaction
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL
from psycopg.errors import QueryCanceled

from console.events.filters import EventFilters
from core.event_ids import HIGHEST_ID, LOWEST_ID, lowest_id
from ingestion.models import Event, EventQuerySet, EventStatus, ProcessingFailure
from ingestion.operations.catalogue import OTHER
from organizations.models import Organization

PAGE_SIZE = 50
# Some 5 ms, of the largest of 200 organizations with 10 million events.
SCANNED_EVENTS = 5_000
SCANNED_DATA = 4_000
TIMEOUT_MS = 2_000
# How far an event's id may be from the time that it was received.
_SLACK = timedelta(minutes=1)
MAX_FAILURES = 1_000
# One look-up in the index each.
MAX_TYPES = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
# Numbers and strings of JSON are different things, and people type neither quotes nor types.
_PATH = "data #> %s::text[] IN (%s::jsonb, %s::jsonb)"
# `type IN (…)` would have to read and sort all of them.
_NEWEST_OF_TYPES = """
WITH known AS (
    SELECT name FROM ingestion_eventtype
    WHERE organization_id = %(organization)s AND starts_with(name, %(prefix)s) AND first_seen_at IS NOT NULL
    LIMIT %(types)s + 1
)
SELECT newest.id
FROM known CROSS JOIN LATERAL (
    SELECT id FROM ingestion_event
    WHERE organization_id = %(organization)s AND type = known.name AND id >= %(low)s AND id < %(high)s
        AND received_at >= %(time_from)s AND received_at < %(time_to)s
    ORDER BY id DESC LIMIT %(page)s
) AS newest
WHERE (SELECT count(*) FROM known) <= %(types)s AND NOT EXISTS (
    SELECT FROM ingestion_eventtype WHERE organization_id = %(organization)s AND name = %(other)s
)
ORDER BY id DESC LIMIT %(page)s
"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """At most PAGE_SIZE events, newest first; `older` is the position to go on from, or None at the end.

    `looked_back_to`: the page is not full, because only so much was looked at. `timed_out`: nothing was found in time.
    """

    events: list[Event]
    older: UUID | None = None
    looked_back_to: datetime | None = None
    timed_out: bool = False


def search_events(organization: Organization, wanted: EventFilters) -> Found:
    """A page of an organization's events."""
    try:
        with transaction.atomic():
            _limit_time()
            return _search(organization, wanted)
    except DataError:
        # A value that PostgreSQL cannot hold, so no event has it.
        return Found(events=[])
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            return Found(events=[], timed_out=True)
        raise


def newest_of_all(wanted: EventFilters) -> Found:
    """A page of everybody's events, for staff; only the time can be chosen."""
    found = list(_newest(_in_time(Event.objects.all(), wanted)).select_related("organization"))
    return Found(events=found[:PAGE_SIZE], older=found[PAGE_SIZE - 1].pk if len(found) > PAGE_SIZE else None)


def time_of(event_id: UUID) -> datetime:
    """When an event of this id was received, to the millisecond."""
    try:
        return datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def _search(organization: Organization, wanted: EventFilters) -> Found:
    events = _in_time(Event.objects.for_organization(organization.pk), wanted)
    if wanted.type and not _is_prefix(wanted):
        events = events.of_type(wanted.type)
    floor = None
    if wanted.status == EventStatus.FAILED:
        # Only what they are searched for decides whether more are needed than fit on the page.
        is_searched = wanted.type or wanted.source or wanted.subject or wanted.path
        size = MAX_FAILURES if is_searched else PAGE_SIZE + 1
        failures = _failures(organization, wanted, size)
        events = events.filter(pk__in=failures)
        floor = failures[-1] if len(failures) == size else None
    elif wanted.source or wanted.subject or wanted.status or wanted.path:
        floor = _floor(organization, wanted, SCANNED_DATA if wanted.path else SCANNED_EVENTS)
    elif _is_prefix(wanted):
        if ids := _newest_of_types(organization, wanted):
            return _page(_newest(events.filter(pk__in=ids)), organization, None)
        floor = _floor(organization, wanted, SCANNED_EVENTS)
    if floor is not None:
        events = events.filter(pk__gte=floor)
    return _page(_newest(_one_by_one(events, wanted)), organization, floor)


def _page(rows: EventQuerySet, organization: Organization, floor: UUID | None) -> Found:
    """`floor` is the oldest event that was looked at, when there may be older ones."""
    found = list(rows)
    for event in found:
        event.organization = organization
    if len(found) > PAGE_SIZE:
        return Found(events=found[:PAGE_SIZE], older=found[PAGE_SIZE - 1].pk)
    return Found(events=found, older=floor, looked_back_to=time_of(floor) if floor else None)


def _is_prefix(wanted: EventFilters) -> bool:
    return wanted.type.endswith("*") and wanted.type != "*"


def _floor(organization: Organization, wanted: EventFilters, size: int) -> UUID | None:
    """The oldest of the newest `size` events that are to be looked at; None when there are less.

    By ids alone, which an index answers without reading the events: the exact time would have it read each.
    """
    low, high = _id_bounds(wanted)
    events = Event.objects.for_organization(organization.pk).filter(pk__gte=low, pk__lt=high)
    if wanted.type and not _is_prefix(wanted):
        events = events.of_type(wanted.type)
    return events.order_by("-pk").values_list("pk", flat=True)[size - 1 : size].first()


def _newest_of_types(organization: Organization, wanted: EventFilters) -> list[UUID]:
    """Of the types that begin so, as processing has seen them. None when there are too many of them or none yet."""
    low, high = _id_bounds(wanted)
    values: dict[str, Any] = {
        "organization": organization.pk,
        "prefix": wanted.type[:-1],
        "types": MAX_TYPES,
        "other": OTHER,
        "low": low,
        "high": high,
        "time_from": wanted.time_from or _EPOCH,
        "time_to": wanted.time_to or _NEVER,
        "page": PAGE_SIZE + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST_OF_TYPES, values)
        return [row[0] for row in cursor]


def _failures(organization: Organization, wanted: EventFilters, size: int) -> list[UUID]:
    """The newest failed events of the time and the position that are asked for."""
    low, high = _id_bounds(wanted)
    rows = ProcessingFailure.objects.for_organization(organization.pk).filter(event_id__gte=low, event_id__lt=high)
    return list(rows.order_by("-event_id").values_list("event_id", flat=True)[:size])


def _in_time(events: EventQuerySet, wanted: EventFilters) -> EventQuerySet:
    """Time bounds are bounds of the id too: they prune partitions, and the index ends there."""
    low, high = _id_bounds(wanted)
    events = events.filter(pk__gte=low, pk__lt=high)
    if wanted.time_from:
        events = events.filter(received_at__gte=wanted.time_from)
    if wanted.time_to:
        events = events.filter(received_at__lt=wanted.time_to)
    return events


def _id_bounds(wanted: EventFilters) -> tuple[UUID, UUID]:
    """The first is inclusive, the second exclusive."""
    low = lowest_id(wanted.time_from - _SLACK) if wanted.time_from else LOWEST_ID
    time_to = lowest_id(wanted.time_to + _SLACK) if wanted.time_to else HIGHEST_ID
    return low, min(time_to, wanted.before or HIGHEST_ID)


def _one_by_one(events: EventQuerySet, wanted: EventFilters) -> EventQuerySet:
    if wanted.type.endswith("*"):
        events = events.of_type(wanted.type)
    if wanted.source:
        events = events.filter(source=wanted.source)
    if wanted.subject:
        events = events.filter(subject=wanted.subject)
    if wanted.status:
        events = events.of_status(EventStatus(wanted.status))
    if wanted.path:
        values = [wanted.path_keys, *_values(wanted.value)]
        events = events.filter(RawSQL(_PATH, values, output_field=BooleanField()))  # noqa: S611 - a constant
    return events


def _newest(events: EventQuerySet) -> EventQuerySet:
    return events.with_status().defer("data", "annotations").order_by("-pk")[: PAGE_SIZE + 1]


def _values(text: str) -> tuple[str, str]:
    """What was typed as JSON if it is some, and as a string: `12900` finds 12900 and "12900"."""
    as_string = json.dumps(text)
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return as_string, as_string
    return text, as_string


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _limit_time() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(TIMEOUT_MS)])
