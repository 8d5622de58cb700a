"""How long each organization's events are kept, and what of its books is old."""

from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet

from organizations.models import ApiKey, AuditEntry, Invitation, Organization


def kept_days() -> dict[UUID, int]:
    """Organization → for how many days its events are kept."""
    organizations = Organization.objects.only("pk", "plan", "retention_days_override")
    return {organization.pk: max(1, organization.limits.retention_days) for organization in organizations.iterator()}


def old_audit_entries(*, before: datetime) -> QuerySet[AuditEntry]:
    """By their time, which the order of the ids follows: the oldest are found at the start of the primary key."""
    return AuditEntry.objects.filter(created_at__lt=before).order_by("pk")


def old_invitations(*, before: datetime) -> QuerySet[Invitation]:
    """Those that were over (accepted, withdrawn or expired) by then."""
    over = Q(accepted_at__lt=before) | Q(withdrawn_at__lt=before) | Q(accepted_at=None, expires_at__lt=before)
    return Invitation.objects.filter(over).order_by("pk")


def ended_keys(keys: QuerySet[ApiKey], *, before: datetime) -> QuerySet[ApiKey]:
    """Those that were revoked or had expired by then."""
    return keys.filter(Q(revoked_at__lt=before) | Q(expires_at__lt=before))
