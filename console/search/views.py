"""The search box of the header: in one organization, or for staff in all."""

from typing import Any, cast
from uuid import UUID

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from console.access import Action, OrganizationContext, may_see_payloads_of_all, visible_organizations
from console.events.outcomes import with_outcomes
from console.pages import LAST_ORGANIZATION, organization_page, signed_in
from console.paging import read_id
from console.rendering import render_page
from console.search.finding import find
from console.search.lookups import rejected_by
from console.search.places import place_of
from console.search.scanning import PAGE
from console.search.wanted import MAX_LENGTH, Wanted


@require_safe
@signed_in
def search_all(request: HttpRequest) -> HttpResponse:
    """`?q=` over all organizations, for staff; members search the one where they were last."""
    user = cast(User, request.user)
    if user.is_staff:
        return _answer(request, None, with_data=may_see_payloads_of_all(user))
    own = visible_organizations(user)
    last = own.filter(slug=request.session.get(LAST_ORGANIZATION, "")).first() or own.first()
    if last is None:
        return redirect("console:home")
    return redirect(f"{reverse('console:search', args=[last.slug])}?{request.GET.urlencode()}")


@organization_page(Action.SEE_EVENTS)
def search(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """`?q=` within the organization; `before=` goes on below an event, `all=1` also looks at events for an id."""
    return _answer(request, place, with_data=place.may(Action.SEE_PAYLOADS))


def _answer(request: HttpRequest, place: OrganizationContext | None, *, with_data: bool) -> HttpResponse:
    wanted = Wanted.read(request.GET.get("q", "")[: 2 * MAX_LENGTH])
    before = read_id(request, "before")
    context: dict[str, Any] = {"wanted": wanted, "with_data": with_data, "before": before}
    if wanted.text:
        found = find(wanted, place, before=before, with_data=with_data, all_events="all" in request.GET)
        context |= {
            "found": found,
            "rejected": not before and rejected_by(wanted, place, with_data=with_data),
            "rows": [(row, place_of(row.event, wanted, with_data=with_data)) for row in with_outcomes(found.events)],
            "is_full": len(found.events) == PAGE,
            "go_on": _go_on(request, found.older),
        }
    return render_page(request, "console/search/search.html", context, place=place, section="search")


def _go_on(request: HttpRequest, older: UUID | None) -> str:
    if older is None:
        return ""
    query = request.GET.copy()
    query["before"] = str(older)
    return f"?{query.urlencode()}"
