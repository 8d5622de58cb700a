"""What the admin asks of deliveries, so that an index answers at once whatever is rare: by subscription and status."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection

from core.event_ids import lowest_id
from core.postgresql.arrays import text_array
from delivery.dead_letter_sides import THEIRS, Fault
from delivery.models import DeliveryStatus, label_of

# A side is no column of an index: it is looked for among so many of the newest of each subscription.
LOOKED_AT = 500
# Enough to tell a trickle from a flood.
COUNTED = 100
LISTED_SUBSCRIPTIONS = 50

# Each (subscription, status) gives its newest ids from `delivery_of_status`; only those are merged.
_NEWEST = """
SELECT newest.id FROM delivery_subscription AS subscription
CROSS JOIN unnest(%(statuses)s::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT looked_at.id FROM (
        SELECT id, last_error FROM delivery_delivery AS delivery
        WHERE delivery.subscription_id = subscription.id AND delivery.status = wanted.status
          AND (%(before)s::uuid IS NULL OR delivery.id < %(before)s::uuid)
        ORDER BY delivery.id DESC LIMIT %(looked_at)s
    ) AS looked_at
    WHERE %(is_theirs)s::bool IS NULL OR (looked_at.last_error = ANY(%(theirs)s::text[])) = %(is_theirs)s::bool
    LIMIT %(limit)s
) AS newest
WHERE (%(organization)s::uuid IS NULL OR subscription.organization_id = %(organization)s::uuid)
  AND (%(subscription)s::uuid IS NULL OR subscription.id = %(subscription)s::uuid)
ORDER BY newest.id DESC LIMIT %(limit)s
"""
# In the order of the page from the start, so that counting ends when the page is full. OFFSET keeps it a query of its
# own: PostgreSQL would count for all of them, and sort what it found.
_DEAD_LETTERS = """
SELECT ordered.id, ordered.name, ordered.url, ordered.kind, ordered.status,
       ordered.organization_id, ordered.organization_name, counted.ours, counted.theirs
FROM (
    SELECT subscription.id, subscription.name, subscription.url, subscription.kind, subscription.status,
           subscription.organization_id, organization.name AS organization_name
    FROM delivery_subscription AS subscription
    JOIN organizations_organization AS organization ON organization.id = subscription.organization_id
    WHERE subscription.status <> 'deleted'
      AND (%(organization)s::uuid IS NULL OR organization.id = %(organization)s::uuid)
      AND (%(after)s::uuid IS NULL OR (organization.name, subscription.id) > (
        SELECT before.name, last.id FROM delivery_subscription AS last
        JOIN organizations_organization AS before ON before.id = last.organization_id WHERE last.id = %(after)s::uuid
      ))
    ORDER BY organization.name, subscription.id OFFSET 0
) AS ordered
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE NOT dead.is_theirs) AS ours, count(*) FILTER (WHERE dead.is_theirs) AS theirs FROM (
        SELECT last_error = ANY(%(theirs)s::text[]) AS is_theirs FROM delivery_delivery AS delivery
        WHERE delivery.subscription_id = ordered.id AND delivery.status = 'dead_letter'
        ORDER BY delivery.id DESC LIMIT %(counted)s
    ) AS dead
) AS counted
WHERE CASE %(side)s WHEN 'ours' THEN counted.ours WHEN 'theirs' THEN counted.theirs
      ELSE counted.ours + counted.theirs END > 0
ORDER BY ordered.organization_name, ordered.id LIMIT %(limit)s
"""
_RECENT = """
SELECT coalesce(sum(counted.dead), 0) FROM delivery_subscription AS subscription
CROSS JOIN LATERAL (
    SELECT count(*) AS dead FROM (
        SELECT FROM delivery_delivery AS delivery
        WHERE delivery.subscription_id = subscription.id AND delivery.status = 'dead_letter'
          AND delivery.id >= %(since)s::uuid LIMIT %(counted)s
    ) AS recent
) AS counted
WHERE subscription.status <> 'deleted'
"""


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    """Those of one subscription, `ours` and `theirs` among its newest COUNTED."""

    subscription_id: UUID
    name: str
    url: str
    kind: str
    status: str
    organization_id: UUID
    organization_name: str
    ours: int
    theirs: int

    @property
    def label(self) -> str:
        return label_of(self.name, self.url)

    @property
    def is_capped(self) -> bool:
        return self.ours + self.theirs >= COUNTED


def newest_ids(
    *,
    organization_id: UUID | None,
    subscription_id: UUID | None,
    statuses: Sequence[str],
    side: Fault | None,
    before: UUID | None,
    limit: int,
) -> list[UUID]:
    """The newest deliveries of an organization or subscription, or of all, with these statuses."""
    values = {
        "organization": organization_id,
        "subscription": subscription_id,
        "statuses": text_array(statuses or [status.value for status in DeliveryStatus]),
        "theirs": text_array(THEIRS),
        "is_theirs": None if side is None else side is Fault.THEIRS,
        "before": before,
        "looked_at": limit if side is None else LOOKED_AT,
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST, values)
        return [row[0] for row in cursor]


def dead_letters_by_subscription(
    *, organization_id: UUID | None, side: Fault | None, after: UUID | None = None
) -> tuple[list[DeadLetters], bool]:
    """Subscriptions that have any, by organization, from the one after `after` on; and whether there are more."""
    values = {
        "organization": organization_id,
        "side": side.value if side else "",
        "theirs": text_array(THEIRS),
        "counted": COUNTED,
        "after": after,
        "limit": LISTED_SUBSCRIPTIONS + 1,
    }
    names = list(DeadLetters.__dataclass_fields__)
    with connection.cursor() as cursor:
        cursor.execute(_DEAD_LETTERS, values)
        found = [DeadLetters(**dict(zip(names, row, strict=True))) for row in cursor]
    return found[:LISTED_SUBSCRIPTIONS], len(found) > LISTED_SUBSCRIPTIONS


def count_recent_dead_letters(*, since: datetime) -> int:
    """Of deliveries whose events are not older; each subscription is counted up to COUNTED."""
    with connection.cursor() as cursor:
        cursor.execute(_RECENT, {"since": lowest_id(since), "counted": COUNTED})
        return int(cursor.fetchone()[0])
