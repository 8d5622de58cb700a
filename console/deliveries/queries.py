"""The lists of deliveries on the console's pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.http import HttpRequest
from django.utils import timezone

from console.paging import PAGE_SIZE, Listed, listed, read_id, read_text
from core.postgresql.arrays import uuid_array
from delivery.attempt_errors import error_words
from delivery.models import Attempt, Delivery, DeliveryStatus, Subscription
from delivery.queries import newest_deliveries
from delivery.shown_status import HeldReason, held_reason, shown_next_attempt, shown_status
from ingestion.models import LARGE_COLUMNS, Event

# Of each subscription; further ones are "1 000+".
COUNTED = 1_000
_DEAD_LETTERS = """
SELECT wanted.id, (
    SELECT count(*) FROM (
        SELECT FROM delivery_delivery
        WHERE subscription_id = wanted.id AND status = 'dead_letter'
        LIMIT %(counted)s
    ) AS counted
)
FROM unnest(%(subscriptions)s::uuid[]) AS wanted (id)
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A delivery with its event, which is None once that has aged out, its latest attempt, and how it is shown."""

    delivery: Delivery
    event: Event | None
    failed: Attempt | None
    status: DeliveryStatus
    held_reason: HeldReason | None
    next_attempt_at: datetime | None

    @property
    def error_words(self) -> str:
        """Its last error for people; empty without one."""
        return error_words(self.delivery.last_error, self.failed.status_code if self.failed else None)


def delivery_page(
    request: HttpRequest, subscription: Subscription, status: DeliveryStatus | None, *, size: int = PAGE_SIZE
) -> Listed[Delivery]:
    """A page of the subscription's deliveries, by one query."""
    rows = newest_deliveries(subscription, status, before=read_id(request, "before"), size=size + 1)
    return listed(list(rows.order_by("-pk")), request, size=size)


def listed_deliveries(request: HttpRequest, subscription: Subscription) -> dict[str, Any]:
    """What a page of them shows, newest first; `?status=` is one of DeliveryStatus."""
    wanted = read_text(request, "status", length=20)
    status = DeliveryStatus(wanted) if wanted in DeliveryStatus.values else None
    page = delivery_page(request, subscription, status)
    return {
        "subscription": subscription,
        "page": page,
        "rows": with_events(subscription, page.rows),
        "status": status,
        "statuses": list(DeliveryStatus),
    }


def with_events(subscription: Subscription, deliveries: Sequence[Delivery]) -> list[Row]:
    """By two queries."""
    ids = [delivery.event_id for delivery in deliveries]
    events = Event.objects.for_organization(subscription.organization_id).defer(*LARGE_COLUMNS).in_bulk(ids)
    failed = _latest_attempts(subscription, [delivery.pk for delivery in deliveries if delivery.last_error])
    now = timezone.now()
    return [
        Row(
            delivery=delivery,
            event=events.get(delivery.event_id),
            failed=failed.get(delivery.pk),
            status=shown_status(delivery, subscription, now=now),
            held_reason=held_reason(delivery, subscription, now=now),
            next_attempt_at=shown_next_attempt(delivery, subscription, now=now),
        )
        for delivery in deliveries
    ]


def dead_letters_by_subscription(subscriptions: Sequence[UUID]) -> dict[UUID, int]:
    """Of an organization's own subscriptions, counted up to COUNTED each, by one query."""
    if not subscriptions:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_DEAD_LETTERS, {"subscriptions": uuid_array(subscriptions), "counted": COUNTED})
        return dict(cursor.fetchall())


def _latest_attempts(subscription: Subscription, delivery_ids: Sequence[UUID]) -> dict[UUID, Attempt]:
    if not delivery_ids:
        return {}
    attempts = Attempt.objects.for_organization(subscription.organization_id).filter(delivery_id__in=delivery_ids)
    latest = attempts.defer("response", "record").order_by("delivery_id", "-id").distinct("delivery_id")
    return {attempt.delivery_id: attempt for attempt in latest}
