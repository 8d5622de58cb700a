"""Where one begins: the way to an organization, and the list of them."""

from typing import cast

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from console.access import visible_organizations
from console.pages import LAST_ORGANIZATION, signed_in
from console.paging import read_text
from console.rendering import LISTED_ORGANIZATIONS, render_page
from organizations.models import Organization

_LISTED = 50


@require_safe
@signed_in
def home(request: HttpRequest) -> HttpResponse:
    """To the last organization or the only one; else one chooses."""
    user = cast(User, request.user)
    last = request.session.get(LAST_ORGANIZATION)
    visible = visible_organizations(user)
    if last and visible.filter(slug=last).exists():
        return redirect("console:overview", last)
    slugs = list(visible.values_list("slug", flat=True)[:2])
    if len(slugs) == 1:
        return redirect("console:overview", slugs[0])
    return redirect("console:organizations")


@require_safe
@signed_in
def organizations(request: HttpRequest) -> HttpResponse:
    """The organizations that one may see, `?q=` searches by the start of the name or slug."""
    term, rows = _searched(request)
    found = list(rows[: _LISTED + 1])
    context = {"term": term, "found": found[:_LISTED], "has_more": len(found) > _LISTED, "listed": _LISTED}
    return render_page(request, "console/organizations.html", context, section="organizations")


@require_safe
@signed_in
def near_organizations(request: HttpRequest) -> HttpResponse:
    """The first few of those, as links, for the menu and the palette while somebody types."""
    term, rows = _searched(request)
    found = list(rows[: LISTED_ORGANIZATIONS + 1])
    context = {
        "term": term,
        "near_organizations": found[:LISTED_ORGANIZATIONS],
        "has_more_organizations": len(found) > LISTED_ORGANIZATIONS,
    }
    return render(request, "console/_near_organizations.html", context)


def _searched(request: HttpRequest) -> tuple[str, QuerySet[Organization]]:
    term = read_text(request, "q", length=100)
    rows = visible_organizations(cast(User, request.user))
    return term, rows.filter(Q(name__icontains=term) | Q(slug__startswith=term.lower())) if term else rows
