"""The inbox: events wait until their consumer acknowledges them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from delivery.delivery_ids import delivery_id
from delivery.models import DEFAULT_INBOX, Delivery, DeliveryStatus, Kind, Subscription
from delivery.operations.fan_out import default_inboxes


@dataclass(frozen=True, kw_only=True)
class Acknowledgement:
    """What became of each event id of an ack."""

    acknowledged: list[UUID]
    already_acknowledged: list[UUID]
    unknown: list[UUID]


def find_inbox(*, organization_id: UUID, name: str) -> UUID | None:
    """The id of the organization's inbox of this name; `default` always exists."""
    if name == DEFAULT_INBOX:
        return default_inboxes([organization_id])[organization_id]
    inboxes = Subscription.objects.for_organization(organization_id).filter(kind=Kind.INBOX, name=name)
    return inboxes.values_list("pk", flat=True).first()


@transaction.atomic
def ack_events(*, organization_id: UUID, inbox_id: UUID, event_ids: Sequence[UUID]) -> Acknowledgement:
    """Mark the events as delivered. Saying it again changes nothing."""
    wanted = {delivery_id(event_id, inbox_id): event_id for event_id in event_ids}
    rows = Delivery.objects.for_organization(organization_id).filter(pk__in=list(wanted))
    found = {row.pk: row.status for row in rows.select_for_update().order_by("pk").only("pk", "status")}
    pending = [pk for pk, status in found.items() if status == DeliveryStatus.PENDING]
    rows.filter(pk__in=pending).update(status=DeliveryStatus.DELIVERED, delivered_at=timezone.now())
    taken = set(pending)
    return Acknowledgement(
        acknowledged=[event for pk, event in wanted.items() if pk in taken],
        already_acknowledged=[event for pk, event in wanted.items() if pk in found and pk not in taken],
        unknown=[event for pk, event in wanted.items() if pk not in found],
    )
