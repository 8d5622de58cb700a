"""UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then version, counter and random bits."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Bounds of every range of ids.
LOWEST_ID, HIGHEST_ID = UUID(int=0), UUID(int=2**128 - 1)


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
