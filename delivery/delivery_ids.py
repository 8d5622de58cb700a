"""A delivery's id follows from its event and subscription, so that committing one twice is impossible.

The first 8 bytes are the event's (time, version, counter): both tables are partitioned alike, and all deliveries of
an event lie side by side in the primary key. The other 62 bits are a hash of the pair.
"""

import hashlib
from uuid import UUID


def delivery_id(event_id: UUID, subscription_id: UUID) -> UUID:
    """UUIDv7-shaped, sorts by the event's time."""
    digest = hashlib.blake2b(event_id.bytes + subscription_id.bytes, digest_size=8).digest()
    return UUID(bytes=event_id.bytes[:8] + bytes([0x80 | (digest[0] & 0x3F)]) + digest[1:])
