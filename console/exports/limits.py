"""How many exports an organization can have, and how much room their files take in PostgreSQL."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q, QuerySet, Sum

from console.models import Export, ExportStatus
from core.problems import Problem
from organizations.limits import hold_limits, refuse_over
from organizations.models import Organization

_GIB = 2**30
_WITH_FILE = Q(status__in=[ExportStatus.RUNNING, ExportStatus.DONE])
_STORED = Sum("stored_size", filter=_WITH_FILE, default=0)


def usage_of(organization_id: UUID, *, now: datetime) -> dict[str, int]:
    """By the names of the limits; bytes as they are stored."""
    return Export.objects.for_organization(organization_id).aggregate(
        exports_running=Count("pk", filter=Q(status=ExportStatus.RUNNING)),
        exports_per_day=Count("pk", filter=Q(created_at__gt=now - timedelta(days=1))),
        export_bytes=_STORED,
    )


def refuse_too_many(organization: Organization, *, now: datetime) -> None:
    """Raises Problem 409 for an export too many, 503 when the files of all organizations fill their room."""
    limits = hold_limits(organization.pk)
    used = usage_of(organization.pk, now=now)
    if used["exports_running"] >= limits.exports_running:
        raise Problem("limit_reached", f"{limits.exports_running} exports are running. Wait for one, or cancel it.")
    refuse_over(limits.exports_per_day, used=used["exports_per_day"], what="exports a day", way_out="Try again later.")
    if used["export_bytes"] >= limits.export_bytes:
        room = f"{limits.export_bytes / _GIB:g} GiB"
        raise Problem(
            "limit_reached",
            f"An organization's export files may take {room} in total, compressed. Delete one that is not needed,"
            " or wait: each is deleted a day after it was created.",
        )
    if _stored(Export.objects.all()) >= settings.EXPORTS_MAX_GIB * _GIB:
        raise Problem(
            "service_unavailable",
            "The exports of all organizations fill their space. Try again in a few hours, when older files are gone.",
            headers={"Retry-After": "3600"},
        )


def room_for(export: Export) -> int:
    """How many bytes its file may have, by what the other ones take."""
    others = Export.objects.exclude(pk=export.pk)
    own = export.organization.limits.export_bytes - _stored(others.filter(organization=export.organization_id))
    return min(own, settings.EXPORTS_MAX_GIB * _GIB - _stored(others))


def _stored(exports: "QuerySet[Export]") -> int:
    return int(exports.aggregate(stored=_STORED)["stored"])
