"""How much of its limits an organization uses; each room registers how it counts."""

from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet

from core.registry import Registry
from organizations.models import ApiKey

# A key that expires within this time is one to look at.
EXPIRES_SOON = timedelta(days=14)

_OWN = """
SELECT
    (SELECT count(*) FROM organizations_apikey WHERE organization_id = %(organization)s
        AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %(now)s)) AS api_keys,
    (SELECT count(*) FROM organizations_membership WHERE organization_id = %(organization)s) AS members,
    (SELECT count(*) FROM organizations_invitation WHERE organization_id = %(organization)s
        AND created_at > %(day)s) AS invitations_per_day
"""


class UsageCounter(Protocol):
    """Counts by the names of the limits."""

    def __call__(self, organization_id: UUID, *, now: datetime) -> dict[str, int]: ...


usage_counters: Registry[UsageCounter] = Registry()


def usage_of(organization_id: UUID, *, now: datetime) -> dict[str, int]:
    """By the names of the limits, where there is one."""
    found: dict[str, int] = {}
    for count in usage_counters:
        found |= count(organization_id, now=now)
    return found


def own_usage(organization_id: UUID, *, now: datetime) -> dict[str, int]:
    """API keys, members and invitations."""
    with connection.cursor() as cursor:
        cursor.execute(_OWN, {"organization": organization_id, "now": now, "day": now - timedelta(days=1)})
        return dict(zip((column.name for column in cursor.description), cursor.fetchone(), strict=True))


def active_keys(organization_id: UUID, *, now: datetime) -> QuerySet[ApiKey]:
    """Those that are neither revoked nor expired."""
    keys = ApiKey.objects.for_organization(organization_id)
    return keys.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)
