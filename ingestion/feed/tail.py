"""The streams that are open in this process, and the one look that all of them share.

A look finds rows, not data: each stream is told of those that it wants, and shows them when its client has taken what
came before. One that is told of too many forgets them, and reads for itself until it has caught up.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from django.utils import timezone

from core.turns import fair_time
from ingestion.feed.reading import Place, Read, Row, place_now, read_behind, read_new
from ingestion.feed.showing import blocks_of
from organizations.queries import good_keys
from rest.doors import streams
from rest.doors.shares import Held
from rest.doors.streams import KEEP_ALIVE_SECONDS, RETRY_MS
from rest.doors.threads import for_streams
from rest.doors.waiting import SharedLook
from rest.problems import as_problem

_MOST_ROWS = 1_000
BEGIN = f"retry: {RETRY_MS}\n\n".encode()
_KEEP_ALIVE = b":\n\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """`type` may end in `*`; what is empty is not asked for."""

    type: str = ""
    source: str = ""
    subject: str = ""

    def wants(self, row: Row) -> bool:
        is_start = self.type.endswith("*")
        is_type = row.type.startswith(self.type[:-1]) if is_start else self.type in ("", row.type)
        return is_type and self.source in ("", row.source) and self.subject in ("", row.subject)


class Stream:
    """One of them: of a key, with what it wants, and what it was told of since its `place`."""

    def __init__(self, organization_id: UUID, key_id: UUID, wanted: Filter, place: Place) -> None:
        self.organization_id = organization_id
        self.key_id = key_id
        self.wanted = wanted
        self.place = place
        self.may_stay = True
        self.is_behind = True
        self._rows: deque[Row] = deque()
        self._called = asyncio.Event()

    def tell(self, rows: Sequence[Row]) -> None:
        self._rows.extend(row for row in rows if self.wanted.wants(row))
        if len(self._rows) > _MOST_ROWS:
            self.fall_behind()
        elif self._rows:
            self._called.set()

    def fall_behind(self) -> None:
        """It has to read for itself."""
        self._rows.clear()
        self.is_behind = True
        self._called.set()

    def end(self) -> None:
        self.may_stay = False
        self._called.set()

    async def next_ids(self) -> list[UUID]:
        """The next events to show; none when there was nothing for KEEP_ALIVE_SECONDS, or it has ended."""
        owner = self.organization_id.int
        while self.is_behind and self.may_stay:
            self.is_behind = False
            read, took = await for_streams(read_behind, owner)(self.organization_id, self.place)
            fair_time.spend(owner, took)
            self.is_behind |= not read.is_last
            if ids := self._wanted_of(read.rows):
                return ids
            await fair_time.pause(owner)
        if not self._rows:
            self._called.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    await self._called.wait()
        rows = list(self._rows)
        self._rows.clear()
        return self._wanted_of(rows)

    def _wanted_of(self, rows: Sequence[Row]) -> list[UUID]:
        """The ids of those that it has not shown; they count as shown from now on."""
        new = [row for row in rows if self.place.is_before(row)]
        for row in new[-1:]:
            self.place = self.place.after(row)
        return [row.id for row in new if self.wanted.wants(row)]


class Tail:
    """Those of one process; of one event loop."""

    def __init__(self) -> None:
        self._streams: dict[UUID, set[Stream]] = {}
        self._places: dict[UUID, Place] = {}
        self._look = SharedLook(self._look_once, is_wanted=lambda: bool(self._streams))

    @contextmanager
    def told(self, stream: Stream) -> Iterator[None]:
        """It is told of what comes for as long as the block lasts."""
        self._streams.setdefault(stream.organization_id, set()).add(stream)
        self._look.begin()
        try:
            yield
        finally:
            others = self._streams[stream.organization_id]
            others.discard(stream)
            if not others:
                del self._streams[stream.organization_id]
                self._places.pop(stream.organization_id, None)

    async def _look_once(self) -> None:
        everyone = [stream for own in self._streams.values() for stream in own]
        known = list(self._places.items())
        new = [pk for pk in self._streams if pk not in self._places]
        (reads, begin, good), _ = await for_streams(_look, None)(known, {stream.key_id for stream in everyone})
        for stream in everyone:
            if streams.are_ending() or stream.key_id not in good:
                stream.end()
        for (organization_id, _), read in zip(known, reads, strict=True):
            if organization_id in self._places:
                self._places[organization_id] = read.place
                for stream in self._streams[organization_id]:
                    stream.tell(read.rows)
        for organization_id in new:
            if organization_id in self._streams:
                self._places[organization_id] = begin
                for stream in self._streams[organization_id]:
                    stream.fall_behind()


def _look(places: Sequence[tuple[UUID, Place]], keys: Collection[UUID]) -> tuple[list[Read], Place, set[UUID]]:
    """What came after the places, a place for who begins now, and which of the keys are good."""
    begin = place_now(timezone.now())
    return (read_new(places) if places else []), begin, good_keys(keys)


tail = Tail()


async def held_open(stream: Stream, room: Held) -> AsyncIterator[bytes]:
    """The answer of a stream, until it may not stay, or its client goes."""
    owner = stream.organization_id.int
    try:
        yield BEGIN
        with tail.told(stream):
            while stream.may_stay:
                ids = await stream.next_ids()
                if not ids and stream.may_stay:
                    yield _KEEP_ALIVE
                    continue
                blocks = blocks_of(stream.organization_id, ids)
                read = for_streams(partial(next, blocks, b""), owner)
                while stream.may_stay:
                    block, took = await read()
                    if not block:
                        break
                    yield block
                    fair_time.spend(owner, took)
                    await fair_time.pause(owner)
    except Exception as error:
        # When PostgreSQL is away, its reader asks again.
        if as_problem(error) is None:
            raise
    finally:
        room.give_back()


def one_look(stream: Stream) -> Iterator[bytes]:
    """Where nothing can be held open: what is there now. Its reader asks again after RETRY_MS, by itself."""
    yield BEGIN
    read = read_behind(stream.organization_id, stream.place)
    yield from blocks_of(stream.organization_id, [row.id for row in read.rows if stream.wanted.wants(row)])
