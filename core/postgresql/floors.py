"""Where a search of a queue begins, so that it does not pass again and again what has left the queue.

A row that was deleted, or is not due any more, stays in its index for as long as any transaction may still see it. A
dump, or a standby that gives feedback, may hold such a snapshot for hours: then a search from the beginning passes
hundreds of thousands of such entries, for the sake of a few that wait behind them.
"""

import time
from collections.abc import Hashable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
# What was committed later than others that are younger by so much, or became due in the past, is found by the next
# search from the beginning. Clocks of hosts may differ as much.
SLACK = timedelta(seconds=5)
# While a search from the beginning takes less, there is nothing to gain. Longer ones have a twentieth of the time.
_CHEAP_SECONDS = 0.05
_WHOLE_PAUSE_FACTOR = 20
_MOST_KEYS = 10_000

Key = TypeVar("Key", bound=Hashable)


class Floors(Generic[Key]):
    """Of one process: for each queue (`Key`) the time below which the last search has found nothing.

    Between begin() and end() comes one search of some of the queues, in the order of the time that is meant.
    """

    def __init__(self) -> None:
        self._floors: dict[Key, datetime] = {}
        self._whole_not_before = self._began_at = 0.0
        # Whether this search, or the last one, goes from the beginning. If not, what it does not find may be there.
        self.is_whole = True

    def begin(self) -> None:
        self._began_at = time.monotonic()
        self.is_whole = self._began_at >= self._whole_not_before

    def of(self, key: Key) -> datetime:
        """What is older is not looked for in this search."""
        return BEGINNING if self.is_whole else self._floors.get(key, BEGINNING)

    def end(self, oldest: Mapping[Key, datetime]) -> None:
        """The oldest that was found of each queue in which something was."""
        if self.is_whole and (took := time.monotonic() - self._began_at) > _CHEAP_SECONDS:
            self._whole_not_before = self._began_at + took * _WHOLE_PAUSE_FACTOR
        if len(self._floors) + len(oldest) > _MOST_KEYS:
            self._floors.clear()
        self._floors.update({key: moment - SLACK for key, moment in oldest.items()})
