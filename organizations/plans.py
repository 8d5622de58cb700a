"""Plans and their limits."""

from dataclasses import dataclass, replace

from django.db import models


class Plan(models.TextChoices):
    FREE = "free"
    PRO = "pro"
    BUSINESS = "business"
    ENTERPRISE = "enterprise"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an organization may have (docs/limits.md): events a minute, days that they are kept, how many of the rest.

    One event makes a delivery for each subscription that wants it, so `subscriptions` bounds `deliveries_per_event`.
    """

    events_per_minute: int
    retention_days: int
    subscriptions: int
    deliveries_per_event: int
    # Active ones. Fewer are in use at once; more would be a loop.
    api_keys: int = 100
    # Each costs a row, and a row for each hour that it is seen in.
    event_types: int = 10_000
    # Every process keeps every schema in force in memory.
    schemas_in_force: int = 500
    # Of all subscriptions together: patterns and filters, which processing keeps in memory.
    filter_bytes: int = 2 * 1024 * 1024
    members: int = 500
    # Mails to strangers: whoever takes over an admin's account shall not send many.
    invitations_per_day: int = 50
    # Of each member. More do not fit the page.
    saved_views: int = 30
    replays_running: int = 10
    replays_per_day: int = 1_000
    exports_running: int = 3
    # Started in a day: a file is kept for as long.
    exports_per_day: int = 50
    # As they are stored, compressed some eight times.
    export_bytes: int = 512 * 1024 * 1024
    # By API keys: each is written down in the audit log, which is kept for years.
    changes_per_hour: int = 5_000


def _limits(*, events_per_minute: int, retention_days: int, subscriptions: int) -> Limits:
    return Limits(
        events_per_minute=events_per_minute,
        retention_days=retention_days,
        subscriptions=subscriptions,
        deliveries_per_event=subscriptions,
    )


LIMITS = {
    Plan.FREE: _limits(events_per_minute=100, retention_days=7, subscriptions=100),
    Plan.PRO: _limits(events_per_minute=1_000, retention_days=30, subscriptions=250),
    Plan.BUSINESS: _limits(events_per_minute=10_000, retention_days=90, subscriptions=500),
    Plan.ENTERPRISE: _limits(events_per_minute=100_000, retention_days=365, subscriptions=1_000),
}


def limits_of(
    plan: str, *, events_per_minute: int | None, retention_days: int | None, subscriptions: int | None = None
) -> Limits:
    """The plan's limits, with an organization's overrides where it has any."""
    standard = LIMITS[Plan(plan)]
    subscriptions = standard.subscriptions if subscriptions is None else subscriptions
    return replace(
        standard,
        events_per_minute=standard.events_per_minute if events_per_minute is None else events_per_minute,
        retention_days=standard.retention_days if retention_days is None else retention_days,
        subscriptions=subscriptions,
        deliveries_per_event=subscriptions,
    )
