"""The one look-up of each thing that belongs to an organization, for the API and the console.

Each raises Http404 for what there is not, and for what is another organization's.
"""

from uuid import UUID

from django.shortcuts import get_object_or_404

from delivery.models import DeadLetterRetry, Delivery, Replay, Subscription


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
