"""From processed events to deliveries."""

from collections.abc import Collection, Sequence
from uuid import UUID

from django.utils import timezone

from delivery.delivery_ids import delivery_id
from delivery.models import DEFAULT_INBOX, Delivery, DeliveryStatus, Kind, Subscription
from ingestion.models import Event


def fan_out(events: Sequence[Event]) -> None:
    """Give each event its deliveries, in the caller's transaction. Called twice, it changes nothing."""
    inboxes = default_inboxes({event.organization_id for event in events})
    now = timezone.now()
    Delivery.objects.bulk_create(
        [
            Delivery(
                id=delivery_id(event.pk, inboxes[event.organization_id]),
                organization_id=event.organization_id,
                subscription_id=inboxes[event.organization_id],
                event_id=event.pk,
                status=DeliveryStatus.PENDING,
                created_at=now,
            )
            for event in events
        ],
        ignore_conflicts=True,
        batch_size=5_000,
    )


def default_inboxes(organization_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Organization → its inbox `default`, made where it is missing."""
    ids = _existing(organization_ids)
    if missing := sorted(set(organization_ids) - ids.keys()):
        Subscription.objects.bulk_create(
            [Subscription(organization_id=pk, kind=Kind.INBOX, name=DEFAULT_INBOX) for pk in missing],
            ignore_conflicts=True,
        )
        ids = _existing(organization_ids)
    return ids


def _existing(organization_ids: Collection[UUID]) -> dict[UUID, UUID]:
    found = Subscription.objects.filter(organization__in=organization_ids, kind=Kind.INBOX, name=DEFAULT_INBOX)
    return dict(found.values_list("organization_id", "pk"))
