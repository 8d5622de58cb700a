"""The one look-up of each thing that belongs to an organization, and the list of deliveries, for API and console.

A look-up raises Http404 for what there is not, and for what is another organization's.
"""

from uuid import UUID

from django.shortcuts import get_object_or_404
from django.utils import timezone

from delivery.models import DeadLetterRetry, Delivery, DeliveryStatus, Replay, Subscription
from delivery.shown_status import stored_as
from organizations.models import TenantQuerySet


def own_subscription(organization_id: UUID, subscription_id: UUID) -> Subscription:
    """With its organization; Http404 for a deleted one too."""
    shown = Subscription.objects.for_organization(organization_id).not_deleted().select_related("organization")
    return get_object_or_404(shown, pk=subscription_id)


def own_delivery(organization_id: UUID, **wanted: UUID) -> Delivery:
    """By `pk`, or that and `subscription`; with its subscription, which may be deleted, and its organization."""
    deliveries = Delivery.objects.for_organization(organization_id).select_related("subscription__organization")
    return get_object_or_404(deliveries, **wanted)


def own_replay(organization_id: UUID, replay_id: UUID) -> Replay:
    """With its organization and subscription."""
    replays = Replay.objects.for_organization(organization_id).select_related("organization", "subscription")
    return get_object_or_404(replays, pk=replay_id)


def own_job(organization_id: UUID, job_id: UUID) -> Replay | DeadLetterRetry:
    """Either kind, with its organization and subscription."""
    retries = DeadLetterRetry.objects.for_organization(organization_id)
    retry = retries.select_related("organization", "subscription", "outcomes").filter(pk=job_id).first()
    return retry or own_replay(organization_id, job_id)


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
