"""New events as they come.

The page keeps a stream open (rest.doors.streams), which looks for what came after its cursor.

Ids are made before their rows are committed, so a row may appear behind an id that was already shown. The cursor
therefore never passes `now` minus SETTLED: each look finds the events of that time again, and the page leaves out
those that it has, but for their outcome, which may have changed. Of older ones a stream watches those that are not
over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from console.events.outcomes import ListedEvent, with_outcomes
from core.event_ids import lowest_id
from ingestion.models import LARGE_COLUMNS, Event, EventQuerySet
from organizations.models import Organization

# As long as replays wait for; a group commit takes milliseconds.
SETTLED = timedelta(seconds=10)
# What one look shows at most: more cannot be read in a second.
MAX_ROWS = 100
# What the page begins with.
FIRST_ROWS = 20
# A filter by the start of a type looks at no more than this far back: a page that slept goes on from there.
MAX_BACKLOG = timedelta(minutes=5)
# How many open events a stream watches, the newest, and at which of its looks: 100 events' outcomes cost some 3 ms.
WATCHED = 50
LOOKS_BETWEEN = 3


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """Newest first. `cursor` is where the next look begins; `skipped`: there were more than MAX_ROWS."""

    rows: list[ListedEvent]
    cursor: UUID
    skipped: bool = False


class Watch:
    """The events of one stream that are not over, with what became of them as it was last looked up."""

    def __init__(self, shown: Sequence[ListedEvent]) -> None:
        """`shown` is what the page has; it is told once how these stand now, as it may be older."""
        self._rows = list(shown)
        self._looks = 0

    def renew(self, arrived: Sequence[ListedEvent]) -> list[ListedEvent]:
        """What was watched, without those that arrived at this look; they are watched from the next one on."""
        self._looks += 1
        if self._looks % LOOKS_BETWEEN == 0 and self._rows:
            found = Event.objects.filter(pk__in=[row.event.pk for row in self._rows])
            self._rows = with_outcomes(list(found.with_status().defer(*LARGE_COLUMNS)))
        came = {row.event.pk for row in arrived}
        renewed = [row for row in self._rows if row.event.pk not in came]
        newest_first = sorted([*arrived, *renewed], key=lambda row: row.event.pk, reverse=True)
        self._rows = [row for row in newest_first if row.outcome.is_open][:WATCHED]
        return renewed


def newest_events(organization: Organization | None, pattern: str, *, now: datetime) -> Arrived:
    """What the page begins with; None as organization means everybody's, for staff."""
    # By the start of a type, each event since then is looked at.
    since = lowest_id(now - (MAX_BACKLOG if pattern.endswith("*") else timedelta(days=1)))
    events = _page(organization, pattern, since, FIRST_ROWS)
    return Arrived(rows=with_outcomes(events), cursor=lowest_id(now - SETTLED))


def events_after(organization: Organization | None, pattern: str, cursor: UUID | None, *, now: datetime) -> Arrived:
    """What came after `cursor`, with what was too young then to be passed."""
    oldest = lowest_id(now - MAX_BACKLOG)
    since = max(cursor, oldest) if cursor else lowest_id(now - SETTLED)
    events = _page(organization, pattern, since, MAX_ROWS + 1)
    return Arrived(
        rows=with_outcomes(events[:MAX_ROWS]),
        cursor=max(since, lowest_id(now - SETTLED)),
        skipped=len(events) > MAX_ROWS,
    )


def _page(organization: Organization | None, pattern: str, since: UUID, limit: int) -> list[Event]:
    rows: EventQuerySet = Event.objects.all()
    if organization is not None:
        rows = rows.for_organization(organization.pk)
        if pattern:
            rows = rows.of_type(pattern)
    found = rows.filter(pk__gte=since).with_status().defer(*LARGE_COLUMNS).order_by("-pk")[:limit]
    if organization is None:
        return list(found.select_related("organization"))
    events = list(found)
    for event in events:
        event.organization = organization
    return events
