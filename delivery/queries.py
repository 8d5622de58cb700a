"""The one look-up of each thing that belongs to an organization, and the list of deliveries, for API and console.

A look-up raises Http404 for what there is not, and for what is another organization's.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Exists, OuterRef
from django.shortcuts import get_object_or_404
from django.utils import timezone

from delivery.delivery_ids import bounds_of_event
from delivery.models import Attempt, DeadLetterRetry, Delivery, DeliveryStatus, KeyQueue, Replay, Subscription
from delivery.shown_status import stored_as
from ingestion.queries import EventCriteria, id_bounds, select_events
from organizations.models import TenantQuerySet

# Deliveries that are looked at one by one for a page: an event and an attempt of each.
LOOKED_AT = 1_000


def own_subscription(organization_id: UUID, subscription_id: UUID) -> Subscription:
    """With its organization; Http404 for a deleted one too."""
    shown = Subscription.objects.for_organization(organization_id).not_deleted().select_related("organization")
    return get_object_or_404(shown, pk=subscription_id)


def own_delivery(organization_id: UUID, **wanted: UUID) -> Delivery:
    """By `pk`, or that and `subscription`; with its subscription, which may be deleted, and its organization."""
    deliveries = Delivery.objects.for_organization(organization_id).select_related("subscription__organization")
    return get_object_or_404(deliveries, **wanted)


def head_of_key(delivery: Delivery) -> UUID | None:
    """The delivery that the others of its key wait for, itself perhaps; None where nothing waits, or without a key."""
    if delivery.order_key is None:
        return None
    queues = KeyQueue.objects.for_organization(delivery.organization_id)
    own = queues.filter(subscription_id=delivery.subscription_id, key=delivery.order_key)
    return own.values_list("head_id", flat=True).first()


def own_replay(organization_id: UUID, replay_id: UUID) -> Replay:
    """With its organization and subscription."""
    replays = Replay.objects.for_organization(organization_id).select_related("organization", "subscription")
    return get_object_or_404(replays, pk=replay_id)


def own_job(organization_id: UUID, job_id: UUID) -> Replay | DeadLetterRetry:
    """Either kind, with its organization and subscription."""
    retries = DeadLetterRetry.objects.for_organization(organization_id)
    retry = retries.select_related("organization", "subscription", "outcomes").filter(pk=job_id).first()
    return retry or own_replay(organization_id, job_id)


@dataclass(frozen=True, kw_only=True)
class DeliveryCriteria:
    """`error` is the code of the last failure; `status_code` what the endpoint answered to any attempt.

    `event_type` may end in `*`. The times are those of the events: the first inclusive, the second exclusive.
    """

    status: DeliveryStatus | None = None
    error: str = ""
    status_code: int | None = None
    event_type: str = ""
    time_from: datetime | None = None
    time_to: datetime | None = None

    @property
    def is_indexed(self) -> bool:
        """Whether the status alone is asked for, which an index knows."""
        return self == DeliveryCriteria(status=self.status)


def search_deliveries(
    subscription: Subscription, wanted: DeliveryCriteria, *, before: UUID | str | None, size: int
) -> tuple[TenantQuerySet[Delivery], UUID | None]:
    """Those of a subscription that are asked for, in any order, and the position to go on from after the last.

    Beyond the status one by one is looked at, so LOOKED_AT of the newest at a time: often fewer than `size` are found.
    """
    if wanted.is_indexed:
        return newest_deliveries(subscription, wanted.status, before=before, size=size), None
    event_times = EventCriteria(time_from=wanted.time_from, time_to=wanted.time_to)
    low, high = (bounds_of_event(bound)[side] for side, bound in enumerate(id_bounds(event_times)))
    before = str(min(high, UUID(str(before)))) if before is not None else high
    newest = newest_deliveries(subscription, wanted.status, before=before, size=LOOKED_AT).filter(pk__gte=low)
    looked_at = list(newest.order_by("-pk").values_list("pk", flat=True))
    rows = Delivery.objects.for_organization(subscription.organization_id).filter(pk__in=looked_at)
    if wanted.error:
        rows = rows.filter(last_error=wanted.error)
    if wanted.status_code is not None:
        attempts = Attempt.objects.filter(delivery_id=OuterRef("pk"), status_code=wanted.status_code)
        rows = rows.filter(Exists(attempts))
    if wanted.event_type or wanted.time_from or wanted.time_to:
        events = select_events(subscription.organization_id, event_times).filter(pk=OuterRef("event_id"))
        rows = rows.filter(Exists(events.of_type(wanted.event_type) if wanted.event_type else events))
    return rows, looked_at[-1] if len(looked_at) == LOOKED_AT else None


def newest_deliveries(
    subscription: Subscription, wanted: DeliveryStatus | None, *, before: UUID | str | None, size: int
) -> TenantQuerySet[Delivery]:
    """The newest `size` of a subscription's deliveries below `before` with the shown status `wanted`, or with any.

    The index is by status, so each status is asked for that many, by one statement: quick on millions, whichever are
    rare. They come in any order.
    """
    deliveries = Delivery.objects.for_organization(subscription.organization_id).filter(subscription=subscription.pk)
    shown = deliveries.filter(pk__lt=before) if before is not None else deliveries
    conditions = stored_as(subscription, wanted, now=timezone.now())
    parts = [shown.filter(condition).order_by("-pk").values("pk")[:size] for condition in conditions]
    if not parts:
        return deliveries.none()
    newest = parts[0].union(*parts[1:], all=True).order_by("-pk")[:size] if len(parts) > 1 else parts[0]
    return deliveries.filter(pk__in=newest).light()
