"""The order in which events were accepted, whatever the clocks of hosts say.

An outbox entry takes the next number of a sequence of PostgreSQL in the statement that commits it. So of two events the
first of which was answered before the second was sent, the second has the greater one, by whichever servers they came.
A position is that number with ten bits for the place in the entry. One of an event that comes by another way (a replay,
another try at a failed one) is taken when it comes.
"""

from django.db import connection

# Entries hold at most 1 000 events.
PLACES = 1 << 10
# Everything before it is processed. An entry that a worker has in hand is still seen by others.
FIRST_UNPROCESSED = f"coalesce((SELECT min(position) FROM ingestion_outboxentry) * {PLACES}, {2**63 - 1})"  # noqa: S608 - no input
TAKE = f"nextval('ingestion_position') * {PLACES}"


def take_positions() -> int:
    """The first of PLACES positions that nobody else has, after all that were taken before."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {TAKE}")
        first: int = cursor.fetchone()[0]
    return first
