"""When was a key last used? Noted in the process, written in bulk. Losing the notes of a killed process is harmless."""

from datetime import datetime
from uuid import UUID

from django.utils import timezone

from core.ports import Database

# Rows are locked in primary-key order, so that two processes never wait for each other crosswise.
_RECORD = """
WITH used AS (SELECT * FROM unnest(%s::uuid[], %s::timestamptz[]) AS used(id, at)),
locked AS (SELECT id FROM organizations_apikey WHERE id IN (SELECT id FROM used) ORDER BY id FOR UPDATE)
UPDATE organizations_apikey AS key SET last_used_at = greatest(key.last_used_at, used.at)
FROM used JOIN locked USING (id) WHERE key.id = used.id
"""

_notes: dict[UUID, datetime] = {}


def note_use(key_id: UUID) -> None:
    """Called when a key is looked up (at most every 1.5 s in each process), not at each request."""
    _notes[key_id] = timezone.now()


async def record_key_use(database: Database) -> int:
    """Write this process's notes to the keys' rows; returns how many there were."""
    notes = dict(_notes)
    if not notes:
        return 0
    _notes.clear()
    await database.fetch(_RECORD, [list(notes), list(notes.values())])
    return len(notes)


def forget_noted_uses() -> None:
    """Drop this process's notes, for tests."""
    _notes.clear()
