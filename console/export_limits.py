"""How many exports an organization can have, and how much room their files take in PostgreSQL."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet, Sum

from console.models import Export, ExportStatus
from organizations.limits import hold_limits, refuse_over
from organizations.models import Organization
from rest.problems import Problem

_GIB = 2**30
_WITH_FILE = Q(status__in=[ExportStatus.RUNNING, ExportStatus.DONE])


def usage_of(organization_id: UUID, *, now: datetime) -> dict[str, int]:
    """By the names of the limits; bytes as they are stored."""
    exports = Export.objects.for_organization(organization_id)
    return {
        "exports_running": exports.filter(status=ExportStatus.RUNNING).count(),
        "exports_per_day": exports.filter(created_at__gt=now - timedelta(days=1)).count(),
        "export_bytes": _stored(exports),
    }


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
            f"The files of an organization's exports take {room} together, compressed. Delete one that is not needed,"
            " or wait: each is gone a day after it was made.",
        )
    if _stored(Export.objects.all()) >= settings.EXPORTS_MAX_GIB * _GIB:
        raise Problem(
            "service_unavailable",
            "The exports of all organizations fill their room. Try again in some hours, when older files are gone.",
            headers={"Retry-After": "3600"},
        )


def room_for(export: Export) -> int:
    """How many bytes its file may have, by what the other ones take."""
    others = Export.objects.exclude(pk=export.pk)
    own = export.organization.limits.export_bytes - _stored(others.filter(organization=export.organization_id))
    return min(own, settings.EXPORTS_MAX_GIB * _GIB - _stored(others))


def _stored(exports: "QuerySet[Export]") -> int:
    return int(exports.filter(_WITH_FILE).aggregate(stored=Sum("stored_size"))["stored"] or 0)
