"""Events of the feed as their readers get them: encoded once for all streams of a process."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from uuid import UUID

import msgspec
from django.db.models import Value

from core.postgresql.portions import octets
from ingestion.api.presenting import describe_listed
from ingestion.models import LARGE, Event
from rest.large_answers import PORTION_BYTES

# What many streams of an organization show at once is read and encoded once.
_REMEMBERED_BYTES = 4 * 1024 * 1024
_remembered: OrderedDict[UUID, bytes] = OrderedDict()
_guard = threading.Lock()
_EVENTS_AT_ONCE = 100


def blocks_of(organization_id: UUID, event_ids: Sequence[UUID]) -> Iterator[bytes]:
    """Server-sent events in the order of the ids, in chunks of about PORTION_BYTES, without what is gone."""
    for start in range(0, len(event_ids), _EVENTS_AT_ONCE):
        for portion in _portions(organization_id, event_ids[start : start + _EVENTS_AT_ONCE]):
            with _guard:
                known = {event_id: _remembered[event_id] for event_id in portion if event_id in _remembered}
            made = _encode(organization_id, [event_id for event_id in portion if event_id not in known])
            _remember(made)
            known |= made
            if blocks := [known[event_id] for event_id in portion if event_id in known]:
                yield b"".join(blocks)


def _portions(organization_id: UUID, event_ids: Sequence[UUID]) -> Iterator[list[UUID]]:
    with _guard:
        sizes = {event_id: len(_remembered[event_id]) for event_id in event_ids if event_id in _remembered}
    if missing := [event_id for event_id in event_ids if event_id not in sizes]:
        events = Event.objects.for_organization(organization_id).filter(pk__in=missing)
        sizes |= dict(events.annotate(size=sum(map(octets, LARGE.values()), Value(0))).values_list("pk", "size"))
    portion: list[UUID] = []
    total = 0
    for event_id in event_ids:
        size = sizes.get(event_id, 0)
        if portion and total + size > PORTION_BYTES:
            yield portion
            portion, total = [], 0
        portion.append(event_id)
        total += size
    yield portion


def _encode(organization_id: UUID, event_ids: Sequence[UUID]) -> dict[UUID, bytes]:
    if not event_ids:
        return {}
    events = list(Event.objects.for_organization(organization_id).with_status().filter(pk__in=event_ids))
    return {
        event.pk: b"id: %s\nevent: event\n%s\n" % (str(event.pk).encode(), _lines(msgspec.json.encode(shown)))
        for event, shown in zip(events, describe_listed(events), strict=True)
    }


def _lines(text: bytes) -> bytes:
    """What was sent with line breaks between its tokens has them here too; a reader puts them together again."""
    return b"".join(b"data: %s\n" % line for line in text.splitlines())


def _remember(made: dict[UUID, bytes]) -> None:
    with _guard:
        _remembered.update(made)
        total = sum(map(len, _remembered.values()))
        while total > _REMEMBERED_BYTES:
            total -= len(_remembered.popitem(last=False)[1])


def forget_shown() -> None:
    """Drop what this process remembers, for tests."""
    _remembered.clear()
