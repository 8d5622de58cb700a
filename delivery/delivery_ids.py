"""A delivery's id follows from its event and subscription, so that committing one twice is impossible.

The first 8 bytes are the event's (time, version, counter): both tables are partitioned alike, and all deliveries of
an event lie side by side in the primary key. The other 62 bits are a hash of the pair, and of the replay if it was one
that made the delivery.
"""

import hashlib
from uuid import UUID


def delivery_id(event_id: UUID, subscription_id: UUID, replay_id: UUID | None = None) -> UUID:
    """UUIDv7-shaped, sorts by the event's time."""
    source = event_id.bytes + subscription_id.bytes + (replay_id.bytes if replay_id else b"")
    digest = hashlib.blake2b(source, digest_size=8).digest()
    return UUID(bytes=event_id.bytes[:8] + bytes([0x80 | (digest[0] & 0x3F)]) + digest[1:])


def bounds_of_event(event_id: UUID) -> tuple[UUID, UUID]:
    """The lowest and the highest id that a delivery of the event can have, replayed ones included."""
    start = event_id.bytes[:8]
    return UUID(bytes=start + b"\x80" + bytes(7)), UUID(bytes=start + b"\xbf" + b"\xff" * 7)
