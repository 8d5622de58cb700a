"""What the process of the tests remembers beyond a request, and how it forgets.

What a function memoizes of its arguments alone stays: it is the same for every test.
"""

from collections.abc import Callable

from django_redis import get_redis_connection

from delivery.matching.interests import forget_interests
from ingestion.feed.showing import forget_shown
from ingestion.intake.counting import forget_counts
from ingestion.intake.rejections import forget_rejections
from ingestion.operations.catalogue import forget_types
from ingestion.schemas.catalogue import forget_schemas
from installation.health.page import forget_examination
from installation.health.readiness import forget_readiness
from installation.health.status import forget_status
from organizations.keys.authentication import forget_cached_keys
from organizations.keys.key_use import forget_noted_uses
from organizations.rate_limits import forget_leases
from rest.caching import forget_failover

FORGETTING: tuple[Callable[[], None], ...] = (
    forget_cached_keys,
    forget_counts,
    forget_examination,
    forget_failover,
    forget_interests,
    forget_leases,
    forget_noted_uses,
    forget_readiness,
    forget_rejections,
    forget_schemas,
    forget_shown,
    forget_status,
    forget_types,
)


def forget() -> None:
    """Make the process know as little as one that has just started."""
    for forget_one in FORGETTING:
        forget_one()


def held_in_redis() -> list[bytes]:
    """Every key with its value, as they lie there."""
    client = get_redis_connection("default")
    keys = list(client.scan_iter())
    return [*keys, *(client.dump(key) or b"" for key in keys)]
