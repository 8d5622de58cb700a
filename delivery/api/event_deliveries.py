"""What became of events: counted for those of a list, and searched by. Of a replayed event, all its deliveries count.

All deliveries of an event lie side by side in the primary key, and those of a subscription by status in an index of
their own; nothing else is asked.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from core.postgresql.arrays import text_array, uuid_array
from delivery.delivery_ids import bounds_of_event
from delivery.models import OPEN_STATUSES, Delivery, DeliveryStatus, Subscription
from delivery.shown_status import shown_status, stored_as
from ingestion.models import Event
from ingestion.queries import EventCriteria, id_bounds

# So many deliveries are looked at for a page, of at most so many subscriptions, the newest.
LOOKED_AT = 1_000
MOST_SUBSCRIPTIONS = 200
_SUBSCRIPTIONS_A_QUERY = 20

# The aggregate keeps each event a look-up of its own: PostgreSQL would rather read the whole table once.
_COUNTS = """
SELECT wanted.event_id, found.status, found.number, found.subscriptions, found.due
FROM unnest(%(events)s::uuid[], %(lowest)s::uuid[], %(highest)s::uuid[]) AS wanted (event_id, lowest, highest)
CROSS JOIN LATERAL (
    SELECT status, count(*) AS number,
        array_agg(subscription_id) FILTER (WHERE status = ANY(%(open)s::text[])) AS subscriptions,
        array_agg(next_attempt_at) FILTER (WHERE status = ANY(%(open)s::text[])) AS due
    FROM delivery_delivery AS delivery
    WHERE delivery.id BETWEEN wanted.lowest AND wanted.highest AND delivery.event_id = wanted.event_id
    GROUP BY status
) AS found
"""


def counts_of(events: Sequence[Event]) -> list[dict[str, Any]]:
    """`{"deliveries": {"delivered": 1, "pending": 0, …}}` for each event, by the statuses that are shown."""
    counts = count_deliveries([event.pk for event in events])
    return [{"deliveries": counts[event.pk]} for event in events]


def count_deliveries(event_ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
    """How many deliveries of each event are shown with each status; two queries at most, whatever their number."""
    none = dict.fromkeys(DeliveryStatus.values, 0)
    counts = {event_id: none.copy() for event_id in event_ids}
    if not event_ids:
        return counts
    bounds = [bounds_of_event(event_id) for event_id in event_ids]
    values = {
        "events": uuid_array(event_ids),
        "lowest": uuid_array(lowest for lowest, _ in bounds),
        "highest": uuid_array(highest for _, highest in bounds),
        "open": text_array(OPEN_STATUSES),
    }
    open_deliveries: list[Delivery] = []
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, values)
        for event_id, status, number, subscriptions, due in cursor:
            if status in OPEN_STATUSES:
                open_deliveries += [
                    Delivery(event_id=event_id, status=status, subscription_id=subscription_id, next_attempt_at=due_at)
                    for subscription_id, due_at in zip(subscriptions, due, strict=True)
                ]
            else:
                counts[event_id][status] += number
    now = timezone.now()
    subscriptions = _subscriptions_of(open_deliveries)
    for delivery in open_deliveries:
        counts[delivery.event_id][shown_status(delivery, subscriptions[delivery.subscription_id], now=now)] += 1
    return counts


def _subscriptions_of(deliveries: Iterable[Delivery]) -> dict[UUID, Subscription]:
    wanted = {delivery.subscription_id for delivery in deliveries}
    shown = Subscription.objects.light().select_related("organization")
    return shown.in_bulk(wanted) if wanted else {}


def events_with(
    organization_id: UUID, criteria: EventCriteria, status: DeliveryStatus | None, subscription: Subscription | None
) -> tuple[list[UUID], UUID | None]:
    """Events that have such a delivery, in the time and below the position that are asked for, the newest ones.

    And the position to go on from, as not more than LOOKED_AT deliveries are looked at; None at the end.
    """
    low, high = id_bounds(criteria)
    rows = Delivery.objects.for_organization(organization_id).filter(
        pk__range=(bounds_of_event(low)[0], bounds_of_event(high)[1])
    )
    found: list[tuple[UUID, UUID]] = []
    now = timezone.now()
    asked = _asked(organization_id, subscription)
    for start in range(0, len(asked), _SUBSCRIPTIONS_A_QUERY):
        parts = [
            rows.filter(condition, subscription=each.pk).order_by("-pk").values_list("pk", "event_id")[:LOOKED_AT]
            for each in asked[start : start + _SUBSCRIPTIONS_A_QUERY]
            for condition in stored_as(each, status, now=now)
        ]
        if parts:
            newest = parts[0].union(*parts[1:], all=True) if len(parts) > 1 else parts[0]
            found += newest.order_by("-pk")[:LOOKED_AT] if len(parts) > 1 else newest
    found = sorted(found, reverse=True)[:LOOKED_AT]
    ids = list(dict.fromkeys(event_id for _, event_id in found))
    if len(found) < LOOKED_AT:
        return ids, None
    # Further deliveries of the last event, or of others of its millisecond, may not have been looked at.
    last = found[-1][1].bytes[:8]
    whole = [event_id for event_id in ids if event_id.bytes[:8] != last]
    return whole or ids, UUID(bytes=last + b"\xff" * 8 if whole else last + bytes(8))


def _asked(organization_id: UUID, subscription: Subscription | None) -> list[Subscription]:
    if subscription is not None:
        return [subscription]
    own = Subscription.objects.for_organization(organization_id).light().select_related("organization")
    return list(own.order_by("-pk")[:MOST_SUBSCRIPTIONS])
