"""The audit log: who did what, and when."""

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.audit.files import csv_chunks, ndjson_chunks
from console.audit.queries import GROUPS, MOST_EXPORTED, AuditFilters, search_audit_log, walk_audit_log
from console.exports.files import CONTENT_TYPES
from console.models import ExportFormat
from console.pages import organization_page
from console.paging import read_text
from console.rendering import render_page
from core.problems import Problem
from rest.large_answers import Slot, sent

_CHUNKS = {ExportFormat.CSV: csv_chunks, ExportFormat.NDJSON: ndjson_chunks}


@organization_page(Action.SEE_AUDIT)
def audit(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """Newest first; `?action=` is a group of actions, `?actor=` a part of a name, `?target=` the id of an object."""
    wanted = AuditFilters.read(request)
    found = search_audit_log(place.organization, wanted, request)
    query = request.GET.copy()
    query.pop("before", None)
    context = {
        "found": found,
        "page": found.page,
        "wanted": wanted,
        "groups": GROUPS.items(),
        "formats": ExportFormat.choices,
        "query": query.urlencode(),
        "most": MOST_EXPORTED,
    }
    return render_page(request, "console/audit/audit.html", context, place=place, section="audit")


@organization_page(Action.SEE_AUDIT)
def export(request: HttpRequest, place: OrganizationContext) -> StreamingHttpResponse:
    """What the page finds by the same query, as a file; `?format=` is one of ExportFormat."""
    kind = read_text(request, "format", length=10)
    if kind not in ExportFormat.values:
        raise Http404
    slot = Slot(place.organization.pk.int)
    if not slot.take():
        raise Problem("service_unavailable", "Many large downloads are in progress. Try again in a minute.")
    portions = walk_audit_log(place.organization, AuditFilters.read(request))
    name = f"audit-{place.organization.slug}-{timezone.now():%Y%m%d-%H%M%S}.{kind}"
    return StreamingHttpResponse(
        sent(_CHUNKS[ExportFormat(kind)](portions), slot),
        content_type=CONTENT_TYPES[ExportFormat(kind)],
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )
