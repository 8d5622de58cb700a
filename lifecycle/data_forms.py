"""Whether events are stored as text alone, or as the version before reads them, too (docs/adr/0020)."""

from collections.abc import Callable

from django.db import connection, transaction

from core.postgresql.arrays import text_array, uuid_array
from core.postgresql.portions import read_portion
from core.version import VERSION, oldest_beside
from ingestion.formats.decoding import rounded
from ingestion.models import LARGE, AlsoAsJsonb, Event
from lifecycle.models import SchemaVersion
from rest.large_answers import PORTION_BYTES

_EVENTS_PER_PORTION = 1_000
_FILL = """
UPDATE ingestion_event AS event SET data = given.jsonb::jsonb
FROM unnest(%s::uuid[], %s::text[]) AS given (id, jsonb)
WHERE event.id = given.id AND event.data IS NULL
"""


@transaction.atomic
def store_text_alone() -> None:
    """From the next commit on. The version before, which would not see those events, does not start any more."""
    AlsoAsJsonb.objects.all().delete()
    SchemaVersion.objects.update(oldest=VERSION)


def store_also_as_jsonb(told: Callable[[int], object]) -> int:
    """Now, and for all events that are stored; then the version before may start. Returns how many were filled in.

    It can be interrupted and run again. `told` gets the number of those that were filled in so far.
    """
    AlsoAsJsonb.objects.get_or_create(id=1)
    filled = _fill_all(told)
    # Again, for what was on its way into the database meanwhile.
    while found := _fill_all(told, before=filled):
        filled += found
    SchemaVersion.objects.update(oldest=oldest_beside(VERSION))
    return filled


def _fill_all(told: Callable[[int], object], before: int = 0) -> int:
    rows = Event.objects.filter(data_jsonb__isnull=True)
    filled = 0
    while events := read_portion(rows, LARGE, count=_EVENTS_PER_PORTION, size=PORTION_BYTES).rows:
        with connection.cursor() as cursor:
            ids = uuid_array(event.pk for event in events)
            cursor.execute(_FILL, [ids, text_array(rounded(event.data) for event in events)])
        filled += len(events)
        told(before + filled)
        rows = rows.filter(pk__lt=events[-1].pk)
    return filled
