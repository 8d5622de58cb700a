"""How much an organization uses the platform: events from the hourly stats, and what it has of types."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q, Sum

from ingestion.models import EventType, HourlyStat, Validation, hour_of


def usage_of(organization_id: UUID, *, now: datetime) -> dict[str, int]:
    """Processed events of the last 24 hours and 30 days, by whole hours (UTC); event types and schemas in force."""
    month = HourlyStat.objects.for_organization(organization_id).filter(hour__gt=hour_of(now) - timedelta(days=30))
    sums = month.aggregate(day=Sum("count", filter=Q(hour__gt=hour_of(now) - timedelta(hours=24))), month=Sum("count"))
    types = EventType.objects.for_organization(organization_id)
    return {
        "events_last_24_hours": sums["day"] or 0,
        "events_last_30_days": sums["month"] or 0,
        "event_types": types.count(),
        "schemas_in_force": types.exclude(validation=Validation.OFF).count(),
    }
