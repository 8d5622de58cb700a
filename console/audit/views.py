"""The audit log: who did what, and when."""

from django.http import HttpRequest, HttpResponse

from console.access import Action, OrganizationContext
from console.audit.queries import GROUPS, AuditFilters, search_audit_log
from console.pages import organization_page
from console.rendering import render_page


@organization_page(Action.SEE_AUDIT)
def audit(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """Newest first; `?action=` is a group of actions, `?actor=` a part of a name."""
    wanted = AuditFilters.read(request)
    found = search_audit_log(place.organization, wanted, request)
    context = {"found": found, "page": found.page, "wanted": wanted, "groups": GROUPS.items()}
    return render_page(request, "console/audit/audit.html", context, place=place, section="audit")
