"""What was refused in the last hour, and why."""

from collections import Counter

from django.http import HttpRequest, HttpResponse

from console.access import Action, OrganizationContext
from console.pages import organization_page
from console.rendering import render_page
from ingestion.intake.rejections import KEPT, newest_rejections


@organization_page(Action.SEE_EVENTS)
def rejected(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """The newest rejections, grouped by their cause; `?code=` shows those of one cause."""
    found = newest_rejections(place.organization.pk, limit=KEPT)
    code = request.GET.get("code", "")
    causes = Counter((each.code, each.title) for each in found)
    context = {
        "causes": [(*cause, count) for cause, count in causes.most_common()],
        "code": code if any(each.code == code for each in found) else "",
        "rejections": [each for each in found if not code or each.code == code],
        "total": len(found),
        "most": KEPT,
    }
    return render_page(request, "console/rejected/rejected.html", context, place=place, section="events")
