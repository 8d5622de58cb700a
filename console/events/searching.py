"""Which events a list of the console shows: those that the API would, also by what became of their deliveries."""

from contextlib import nullcontext
from uuid import UUID

from django.db import OperationalError
from psycopg.errors import QueryCanceled

from console.events.filters import EventFilters
from core.event_ids import time_of
from core.postgresql.statement_limits import short_statements
from delivery.api.event_deliveries import events_with
from delivery.models import DeliveryStatus
from ingestion.models import LARGE_COLUMNS
from ingestion.queries import TIMEOUT_MS, EventPage, events_among, search_events


def find_events(organization_id: UUID, wanted: EventFilters, *, size: int) -> EventPage:
    """At most `size`, newest first, with their status and without what is large."""
    if not wanted.delivery_status:
        return search_events(organization_id, wanted, size=size)
    try:
        # Nothing else can take long.
        with short_statements(TIMEOUT_MS) if wanted.path else nullcontext():
            return _by_deliveries(organization_id, wanted, size)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        return EventPage(events=[], timed_out=True)


def _by_deliveries(organization_id: UUID, wanted: EventFilters, size: int) -> EventPage:
    """The newest deliveries of that status are looked at, a bounded number of them; the rest is searched further on."""
    ids, older = events_with(organization_id, wanted, DeliveryStatus(wanted.delivery_status), None)
    rows = events_among(organization_id, wanted, ids).defer(*LARGE_COLUMNS).order_by("-pk")[: size + 1]
    found = list(rows)
    if len(found) > size:
        return EventPage(events=found[:size], older=found[size - 1].pk)
    return EventPage(events=found, older=older, looked_back_to=time_of(older) if older else None)
