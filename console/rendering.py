"""Pages with what they all share: navigation, the organization switcher, and what the person may do."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from console.access import Action, OrganizationContext, may_see_health, visible_organizations
from console.navigation import links_for, links_of_all, palette_of

# More names are no use in a menu: it has a search field that reaches every organization.
LISTED_ORGANIZATIONS = 8


def render_page(
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
    *,
    place: OrganizationContext | None = None,
    section: str = "",
    status: int = 200,
) -> HttpResponse:
    """A page of an organization (`place`), or of none. `section` marks the entry of the navigation."""
    shared: dict[str, Any] = {"place": place, "organization": place.organization if place else None, "section": section}
    if request.user.is_authenticated:
        user = request.user
        # One more than listed, to know whether there are others.
        near = list(visible_organizations(user)[: LISTED_ORGANIZATIONS + 1])
        shared["near_organizations"] = near[:LISTED_ORGANIZATIONS]
        shared["has_more_organizations"] = len(near) > LISTED_ORGANIZATIONS
        with_health = shared["may_see_health"] = may_see_health(user)
        if place:
            shared["navigation"] = links_for(place, section)
            shared["palette"] = palette_of(place)
        elif user.is_staff:
            shared["navigation"] = links_of_all(section, with_health=with_health)
    return render(request, template, {**shared, "may": permissions(place), **context}, status=status)


def permissions(place: OrganizationContext | None) -> dict[str, bool]:
    """`{"retry_deliveries": True, …}` for templates."""
    return {action.value: bool(place and place.may(action)) for action in Action}
