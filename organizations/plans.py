"""Plans and their limits."""

from dataclasses import dataclass

from django.db import models


class Plan(models.TextChoices):
    FREE = "free"
    PRO = "pro"
    BUSINESS = "business"
    ENTERPRISE = "enterprise"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a plan allows: events a minute, and how many days events are kept."""

    events_per_minute: int
    retention_days: int


LIMITS = {
    Plan.FREE: Limits(events_per_minute=100, retention_days=7),
    Plan.PRO: Limits(events_per_minute=1_000, retention_days=30),
    Plan.BUSINESS: Limits(events_per_minute=10_000, retention_days=90),
    Plan.ENTERPRISE: Limits(events_per_minute=100_000, retention_days=365),
}


def limits_of(plan: str, *, events_per_minute: int | None, retention_days: int | None) -> Limits:
    """The plan's limits, with an organization's overrides where it has any."""
    standard = LIMITS[Plan(plan)]
    return Limits(
        events_per_minute=standard.events_per_minute if events_per_minute is None else events_per_minute,
        retention_days=standard.retention_days if retention_days is None else retention_days,
    )
