"""UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then version, counter and random bits.

The ids of events have in place of the counter the fraction of the millisecond (section 6.2, method 3), so that ids that
several processes of a host have made sort by time, too. Those of several hosts sort by their clocks, and are apart by
what these are: nothing that promises an order relies on it (ingestion.positions).
"""

import random
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Bounds of every range of ids.
LOWEST_ID, HIGHEST_ID = UUID(int=0), UUID(int=2**128 - 1)

_NANOSECONDS = 1_000_000
# The version and the variant.
_FIXED = 7 << 76 | 2 << 62
# A clock that is set back by more is followed. By less, ids go on from the last one.
_MOST_AHEAD = 1_000 << 12
_last_tick = 0


def new_event_id() -> UUID:
    """Greater than those that this process has made before, while its clock is not set back."""
    global _last_tick  # noqa: PLW0603 - a thread that comes between at worst makes two of one moment
    tick = (time.time_ns() << 12) // _NANOSECONDS
    if 0 <= _last_tick - tick < _MOST_AHEAD:
        tick = _last_tick + 1
    _last_tick = tick
    return UUID(int=(tick >> 12) << 80 | (tick & 0xFFF) << 64 | _FIXED | random.getrandbits(62))


def lowest_id(moment: datetime) -> UUID:
    """The smallest id of an event received at `moment` or later: a bound for ranges, never an event's id."""
    milliseconds = max(0, (moment - _EPOCH) // timedelta(milliseconds=1))
    return UUID(int=milliseconds << 80)


def time_of(event_id: UUID) -> datetime:
    """When an event of this id was received, to the millisecond; the last moment for one beyond the year 9999."""
    try:
        return _EPOCH + timedelta(milliseconds=event_id.int >> 80)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
