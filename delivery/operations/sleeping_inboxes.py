"""Inboxes that nobody has read yet: they sleep, and cost nothing for an event.

Every organization has the inbox `default`, and few read it. While it sleeps, processing makes it no deliveries. Its
first reader wakes it. From then on it gets them like any other; those of the events before are made as they are read:
the oldest ones for a lease, a page for a list, those that are named for an ack. A delivery's id follows from its event,
so that none is made twice, and what retention takes meanwhile is nobody's any more, as of any inbox.

A batch of events that is processed while the inbox wakes may still leave it out, and is not committed yet. So its
first reader waits for the batches that run, before it decides up to which event deliveries are missing.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from core.event_ids import HIGHEST_ID, LOWEST_ID, time_of
from core.postgresql.arrays import text_array, uuid_array
from delivery.delivery_ids import delivery_id
from delivery.models import Delivery, DeliveryStatus, Subscription
from ingestion.models import Event, EventQuerySet, EventStatus
from ingestion.operations.process import wait_for_batches

# One transaction: some 30 ms.
FILLED_AT_ONCE = 1_000
# A list whose newest events have been acknowledged looks at so many portions for others.
_PORTIONS = 20

# Where they are in the order is when they were received: before everything that came after the inbox was woken.
_INSERT = """
INSERT INTO delivery_delivery (id, organization_id, subscription_id, event_id, status, created_at, next_attempt_at)
SELECT id, %(organization)s, %(subscription)s, event_id, %(status)s, received_at, received_at
FROM unnest(%(ids)s::uuid[], %(events)s::uuid[], %(moments)s::timestamptz[]) AS new (id, event_id, received_at)
ON CONFLICT (id) DO NOTHING
"""


def wake_inbox(inbox: Subscription) -> None:
    """It is about to be read. Of one that is awake it changes nothing."""
    if inbox.sleeps:
        # Committed by itself, so that every batch that begins from now on sees it.
        _rows(inbox).filter(sleeps=True).update(
            sleeps=False, unfilled_from=LOWEST_ID, unfilled_to=HIGHEST_ID, changed_at=Now()
        )
        inbox.refresh_from_db(fields=("sleeps", "unfilled_from", "unfilled_to", "changed_at"))
    if inbox.unfilled_to == HIGHEST_ID:
        _settle_end(inbox)


def fill_oldest(inbox: Subscription, *, number: int) -> bool:
    """See that `number` of the oldest events have their deliveries; returns whether some are missing still.

    They are made in the order of the events, so that a lease finds nothing that comes before them later.
    """
    if inbox.unfilled_from is None:
        return False
    with transaction.atomic():
        _lock(inbox)
        if inbox.unfilled_from is None:
            return False
        before = time_of(inbox.unfilled_from)
        due = Delivery.objects.filter(subscription=inbox, next_attempt_at__lt=before)[:number].count()
        if due < number:
            size = max(number, FILLED_AT_ONCE)
            events = _unfilled(inbox).order_by("pk")[:size]
            _fill(inbox, found := list(events.values_list("pk", "received_at")))
            inbox.unfilled_from = UUID(int=found[-1][0].int + 1) if len(found) == size else None
            inbox.unfilled_to = inbox.unfilled_to if inbox.unfilled_from else None
            inbox.save(update_fields=("unfilled_from", "unfilled_to"))
    return inbox.unfilled_from is not None


def fill_page(inbox: Subscription, *, before: UUID | None, size: int) -> None:
    """Make the newest `size` deliveries that are missing below the delivery `before`, or of all."""
    if inbox.unfilled_from is None:
        return
    # An event and its deliveries share the first half of their ids. Within it deliveries have an order of their own, so
    # those of all events of a half are made together.
    highest = HIGHEST_ID if before is None else UUID(bytes=before.bytes[:8] + b"\xff" * 8)
    for _ in range(_PORTIONS):
        events = _unfilled(inbox).filter(pk__lte=highest).order_by("-pk")[: max(size, 1)]
        found = list(events.values_list("pk", "received_at"))
        if not found:
            return
        last = found[-1][0]
        half = UUID(bytes=last.bytes[:8] + bytes(8))
        found += _unfilled(inbox).filter(pk__gte=half, pk__lt=last).values_list("pk", "received_at")
        size -= _fill(inbox, found)
        if size <= 0:
            return
        highest = UUID(int=half.int - 1)
        size = max(size, FILLED_AT_ONCE)


def fill_named(inbox: Subscription, event_ids: Sequence[UUID]) -> None:
    """Make the deliveries of these events that are missing."""
    if inbox.unfilled_from is not None:
        _fill(inbox, _unfilled(inbox).filter(pk__in=event_ids).values_list("pk", "received_at"))


@transaction.atomic
def _settle_end(inbox: Subscription) -> None:
    """After this point every batch makes its deliveries, and whatever made none is committed."""
    wait_for_batches()
    last = Event.objects.for_organization(inbox.organization_id).order_by("-pk").values_list("pk", flat=True).first()
    bounds = {"unfilled_from": None, "unfilled_to": None} if last is None else {"unfilled_to": UUID(int=last.int + 1)}
    _rows(inbox).filter(unfilled_to=HIGHEST_ID).update(**bounds)
    inbox.refresh_from_db(fields=("unfilled_from", "unfilled_to"))


def _unfilled(inbox: Subscription) -> EventQuerySet:
    """The events that may lack their delivery; those that wait to be processed will get theirs then."""
    events = Event.objects.for_organization(inbox.organization_id).of_status(EventStatus.PROCESSED)
    return events.filter(pk__gte=inbox.unfilled_from, pk__lt=inbox.unfilled_to)


def _fill(inbox: Subscription, events: Iterable[tuple[UUID, datetime]]) -> int:
    """How many were missing."""
    found = sorted(events)
    if not found:
        return 0
    values: dict[str, Any] = {
        "ids": uuid_array(delivery_id(pk, inbox.pk) for pk, _ in found),
        "events": uuid_array(pk for pk, _ in found),
        "moments": text_array(moment.isoformat() for _, moment in found),
        "organization": inbox.organization_id,
        "subscription": inbox.pk,
        "status": DeliveryStatus.PENDING.value,
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, values)
        made: int = cursor.rowcount
    return made


def _rows(inbox: Subscription) -> Any:
    return Subscription.objects.for_organization(inbox.organization_id).filter(pk=inbox.pk)


def _lock(inbox: Subscription) -> None:
    """With what is missing now: one reader at a time makes the oldest."""
    bounds = _rows(inbox).select_for_update(no_key=True).values_list("unfilled_from", "unfilled_to").first()
    inbox.unfilled_from, inbox.unfilled_to = bounds or (None, None)
