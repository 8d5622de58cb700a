"""How much of its limits an organization uses; each room tells what it counts (ORGANIZATION_USAGE of the settings)."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils.module_loading import import_string

from organizations.models import ApiKey, Invitation, Membership


def usage_of(organization_id: UUID, *, now: datetime) -> dict[str, int]:
    """By the names of the limits, where there is one."""
    found: dict[str, int] = {}
    for path in settings.ORGANIZATION_USAGE:
        found |= import_string(path)(organization_id, now=now)
    return found


def own_usage(organization_id: UUID, *, now: datetime) -> dict[str, int]:
    """API keys, members and invitations."""
    invitations = Invitation.objects.for_organization(organization_id)
    return {
        "api_keys": active_keys(organization_id, now=now).count(),
        "members": Membership.objects.for_organization(organization_id).count(),
        "invitations_per_day": invitations.filter(created_at__gt=now - timedelta(days=1)).count(),
    }


def active_keys(organization_id: UUID, *, now: datetime) -> QuerySet[ApiKey]:
    """Those that are neither revoked nor expired."""
    keys = ApiKey.objects.for_organization(organization_id)
    return keys.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)
