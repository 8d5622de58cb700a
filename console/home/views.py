"""Where one begins: the way to an organization, and the list of them."""

from typing import cast

from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from console.access import visible_organizations
from console.pages import LAST_ORGANIZATION, signed_in
from console.rendering import render_page

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
    term = request.GET.get("q", "").replace("\x00", "").strip()[:100]
    rows = visible_organizations(cast(User, request.user))
    if term:
        rows = rows.filter(Q(name__icontains=term) | Q(slug__startswith=term.lower()))
    found = list(rows[: _LISTED + 1])
    context = {"term": term, "found": found[:_LISTED], "has_more": len(found) > _LISTED, "listed": _LISTED}
    return render_page(request, "console/organizations.html", context, section="organizations")
