"""The inbox: events wait until their consumer acknowledges them.

An event that was replayed has several deliveries to an inbox; what is said of the event counts for all of them.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, QuerySet, When

from core.event_ids import lowest_id
from delivery.delivery_ids import delivery_id
from delivery.models import (
    DEFAULT_INBOX,
    OPEN_STATUSES,
    Delivery,
    DeliveryStatus,
    Replay,
    Subscription,
    SubscriptionKind,
    SubscriptionStatus,
)
from delivery.operations.dead_letters import count_retried
from delivery.operations.fan_out import default_inboxes
from delivery.operations.sleeping_inboxes import fill_named, wake_inbox
from delivery.ordering.queues import leave_queues
from delivery.wakeup import wake_consumers

# An event may have a delivery of each; the newest ones are looked for.
_REPLAYS = 50
_SETTLED = ("pk", "subscription", "event_id", "status", "lease_id", "next_attempt_at", "retry_id", "order_key")


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """What became of each event id of an ack (`done`: acknowledged) or a nack (`done`: returned)."""

    done: list[UUID] = field(default_factory=list)
    already_acknowledged: list[UUID] = field(default_factory=list)
    stale: list[UUID] = field(default_factory=list)
    unknown: list[UUID] = field(default_factory=list)


def find_inbox(*, organization_id: UUID, name: str) -> Subscription | None:
    """The organization's inbox of this name, which is about to be read: it is awake now. `default` always exists."""
    inboxes = (
        Subscription.objects.for_organization(organization_id)
        .not_deleted()
        .filter(kind=SubscriptionKind.INBOX, name=name)
    )
    inbox = inboxes.first()
    if inbox is None and name == DEFAULT_INBOX:
        default_inboxes([organization_id])
        inbox = inboxes.get()
    if inbox is not None:
        wake_inbox(inbox)
    return inbox


def inbox_deliveries(*, inbox: Subscription, status: DeliveryStatus) -> QuerySet[Delivery]:
    """The deliveries that the API shows with this status.

    Those of an inbox are pending until they are acknowledged or dead letters; while it is paused they are shown as
    held instead.
    """
    rows = Delivery.objects.for_organization(inbox.organization_id).filter(subscription=inbox)
    shown = DeliveryStatus.PENDING if inbox.status == SubscriptionStatus.ACTIVE else DeliveryStatus.HELD
    if status in (DeliveryStatus.PENDING, DeliveryStatus.HELD):
        return rows.filter(status=DeliveryStatus.PENDING) if status == shown else rows.none()
    return rows.filter(status=status)


def ack_events(*, inbox: Subscription, event_ids: Sequence[UUID], lease_id: UUID | None, now: datetime) -> Settlement:
    """Mark the events as delivered. Saying it again changes nothing.

    With a lease only what it holds at `now`; without one everything, a dead letter too: its consumer was late.
    """
    return _settle(
        inbox,
        event_ids,
        allowed=lambda row: lease_id is None or _holds(lease_id, row, now),
        changes={
            "status": DeliveryStatus.DELIVERED,
            "delivered_at": now,
            "next_attempt_at": None,
            "lease_id": None,
            "retry_id": None,
            "last_error": "",
        },
    )


def nack_events(*, inbox: Subscription, event_ids: Sequence[UUID], lease_id: UUID | None, now: datetime) -> Settlement:
    """Let the events be leased again at once, where they were in the order. What waits for its turn waits on."""
    settlement = _settle(
        inbox,
        event_ids,
        allowed=lambda row: row.status in OPEN_STATUSES and (lease_id is None or _holds(lease_id, row, now)),
        changes={
            "next_attempt_at": Case(When(next_attempt_at__isnull=False, then=F("created_at"))),
            "lease_id": None,
        },
    )
    if settlement.done:
        transaction.on_commit(partial(wake_consumers, [inbox.pk]))
    return settlement


def _holds(lease_id: UUID, row: Delivery, now: datetime) -> bool:
    """Whether the lease holds the delivery. An expired one holds nothing, also while nobody else has it."""
    return row.lease_id == lease_id and row.next_attempt_at is not None and row.next_attempt_at > now


@transaction.atomic
def _settle(
    inbox: Subscription, event_ids: Sequence[UUID], *, allowed: Callable[[Delivery], bool], changes: dict[str, Any]
) -> Settlement:
    """Make the changes to the deliveries that are not delivered yet and for which it is allowed."""
    fill_named(inbox, event_ids)
    rows = Delivery.objects.for_organization(inbox.organization_id).filter(subscription=inbox)
    named = rows.filter(pk__in=_possible_deliveries(inbox, event_ids)).select_for_update().order_by("pk")
    found: dict[UUID, list[Delivery]] = defaultdict(list)
    for row in named.only(*_SETTLED):
        found[row.event_id].append(row)
    settled = [
        row
        for deliveries in found.values()
        for row in deliveries
        if row.status != DeliveryStatus.DELIVERED and allowed(row)
    ]
    if settled:
        rows.filter(pk__in=[row.pk for row in settled]).update(**changes)
        if changes.get("status") == DeliveryStatus.DELIVERED:
            count_retried(settled, "delivered")
            leave_queues(settled)
    done = {row.event_id for row in settled}
    lists: dict[str, list[UUID]] = defaultdict(list)
    for event_id in dict.fromkeys(event_ids):
        lists["done" if event_id in done else _untouched(found.get(event_id, []))].append(event_id)
    return Settlement(**lists)


def _untouched(deliveries: Sequence[Delivery]) -> str:
    """Which list of an Settlement the event belongs to of whose deliveries none changed."""
    if not deliveries:
        return "unknown"
    delivered = all(row.status == DeliveryStatus.DELIVERED for row in deliveries)
    return "already_acknowledged" if delivered else "stale"


def _possible_deliveries(inbox: Subscription, event_ids: Sequence[UUID]) -> list[UUID]:
    """The ids that the events' deliveries to the inbox can have: the first one, and one of each replay around it."""
    replays = Replay.objects.for_organization(inbox.organization_id).filter(subscription=inbox)
    spans = [
        (lowest_id(replay.received_after), lowest_id(replay.received_before), replay.pk)
        for replay in replays.only("pk", "received_after", "received_before")[:_REPLAYS]
    ]
    ids = [delivery_id(event_id, inbox.pk) for event_id in event_ids]
    ids += [
        delivery_id(event_id, inbox.pk, replay_id)
        for first, end, replay_id in spans
        for event_id in event_ids
        if first <= event_id < end
    ]
    return ids
