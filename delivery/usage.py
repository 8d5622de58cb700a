"""How much of its limits an organization uses: subscriptions and replays."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Sum

from delivery.models import Replay, ReplayStatus, Subscription
from rest.portions import octets


def usage_of(organization_id: UUID, *, now: datetime) -> dict[str, int]:
    """By the names of the limits."""
    replays = Replay.objects.for_organization(organization_id)
    return {
        "subscriptions": Subscription.objects.for_organization(organization_id).shown().count(),
        "filter_bytes": filter_bytes(organization_id),
        "replays_running": replays.filter(status=ReplayStatus.RUNNING).count(),
        "replays_per_day": replays.filter(created_at__gt=now - timedelta(days=1)).count(),
    }


def filter_bytes(organization_id: UUID) -> int:
    """Of the patterns and filters of all its subscriptions, which processing keeps in memory."""
    shown = Subscription.objects.for_organization(organization_id).shown()
    sums = shown.aggregate(types=Sum(octets("event_types")), filters=Sum(octets("filter")))
    return int(sums["types"] or 0) + int(sums["filters"] or 0)
