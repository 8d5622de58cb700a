"""An answer to the search box: what indexes know, then what is found by looking, all within a second."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db import DataError, OperationalError
from django.db.models.fields.json import KeyTextTransform
from psycopg.errors import QueryCanceled

from console.access import OrganizationContext
from console.search.lookups import Hit, look_up
from console.search.scanning import Progress, look
from console.search.wanted import Wanted
from core.event_ids import lowest_id, time_of
from core.postgresql.statement_limits import short_statements
from ingestion.models import LARGE_COLUMNS, Event

_STATEMENT_MS = 900
# Between the beginning of a request and its event's id, unless it had to wait.
_SOON_AFTER = timedelta(seconds=2)
_MOST_SOON_AFTER = 10


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`looked_at` events, the oldest received at `end`; `older` is where to go on, or None when there are no more.

    `skipped_events`: the thing was found, so no event was looked at. `is_stuck`: nothing could be looked at in time.
    `accepted_soon_after`, when nothing else is found: what was typed may be the id of a request. Those that the
    platform gives are stored nowhere, but say when they were made.
    """

    hits: list[Hit] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    looked_at: int = 0
    end: datetime | None = None
    older: UUID | None = None
    skipped_events: bool = False
    is_stuck: bool = False
    accepted_soon_after: list[Event] = field(default_factory=list)


def find(
    wanted: Wanted, place: OrganizationContext | None, *, before: UUID | None, with_data: bool, all_events: bool
) -> Answer:
    """In the organization, or with None in all; `before` goes on, `all_events` also looks for an id that was found."""
    hits: list[Hit] = []
    soon_after: list[Event] = []
    progress = Progress()
    skips = bool(wanted.key) or (bool(wanted.path) and not with_data)
    try:
        with short_statements(_STATEMENT_MS):
            if not before:
                hits = look_up(wanted, place)
            if wanted.id is not None and not hits and not before:
                soon_after = _accepted_soon_after(wanted.id, place)
            # Whoever has an id of ours has found what it is of.
            skips = skips or (bool(hits) and wanted.id is not None and not all_events)
            if not skips:
                look(progress, wanted, place, before=before, with_data=with_data)
    except DataError:
        return Answer(hits=hits)  # what PostgreSQL cannot hold, no event has
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
    return Answer(
        hits=hits,
        events=_events(progress.hits, with_data=with_data),
        looked_at=progress.looked_at,
        end=time_of(progress.last) if progress.last else None,
        older=None if progress.is_at_end else progress.last,
        skipped_events=skips,
        accepted_soon_after=[] if progress.hits else soon_after,
        is_stuck=not skips and not progress.looked_at and not progress.is_at_end,
    )


def _accepted_soon_after(request_id: UUID, place: OrganizationContext | None) -> list[Event]:
    """After the moment that an id of the platform names; a range of the primary key."""
    if request_id.version != 7:
        return []
    made = time_of(request_id)
    rows = Event.objects.all() if place is None else Event.objects.for_organization(place.organization.pk)
    soon = rows.filter(pk__gte=lowest_id(made), pk__lt=lowest_id(made + _SOON_AFTER)).select_related("organization")
    return list(soon.defer(*LARGE_COLUMNS).order_by("pk")[:_MOST_SOON_AFTER])


def _events(ids: list[UUID], *, with_data: bool) -> list[Event]:
    """With their status and organization, newest first."""
    rows = Event.objects.filter(pk__in=ids).with_status().select_related("organization")
    rows = rows.annotate(request_id=KeyTextTransform("request-id", KeyTextTransform("headers", "annotations")))
    rows = rows.defer("annotations") if with_data else rows.defer("annotations", "data_text", "data_jsonb")
    return list(rows.order_by("-pk")) if ids else []
