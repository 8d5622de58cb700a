"""Pages with what they all share: navigation, the organization switcher, and what the person may do."""

from collections.abc import Callable, Mapping
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
    status: int = 0,
) -> HttpResponse:
    """A page of an organization (`place`), or of none. `section` marks the entry of the navigation.

    `status` 0: 200, or 422 where its `form` has errors.
    """
    shared: dict[str, Any] = {"place": place, "organization": place.organization if place else None, "section": section}
    # Pages that the portal shows too extend `frame`, and reach each other by `area` (console.templatetags).
    shared |= {"frame": "console/manage.html", "noun": "subscription"}
    if request.user.is_authenticated:
        user = request.user
        # One more than listed, to know whether there are others.
        near = list(visible_organizations(user)[: LISTED_ORGANIZATIONS + 1])
        shared["near_organizations"] = near[:LISTED_ORGANIZATIONS]
        shared["has_more_organizations"] = len(near) > LISTED_ORGANIZATIONS
        with_health = shared["may_see_health"] = may_see_health(user)
        if place:
            shared["area"] = ("console", place.organization.slug)
            shared["navigation"] = links_for(place, section)
            shared["palette"] = palette_of(place)
        elif user.is_staff:
            shared["navigation"] = links_of_all(section, with_health=with_health)
    shared["may"] = permissions(place)
    return render(request, template, {**shared, **context}, status=status or status_of(context))


def status_of(context: Mapping[str, Any]) -> int:
    """422 of a page whose `form` has errors, else 200."""
    form = context.get("form")
    return 422 if form and form.errors else 200


def in_section(section: str) -> Callable[..., HttpResponse]:
    """Renders pages of an organization: `(request, place, template, context, status=0)`."""

    def render_section(
        request: HttpRequest,
        place: OrganizationContext,
        template: str,
        context: dict[str, Any],
        status: int = 0,
    ) -> HttpResponse:
        return render_page(request, template, context, place=place, section=section, status=status)

    return render_section


def permissions(place: OrganizationContext | None) -> dict[str, bool]:
    """`{"retry_deliveries": True, …}` for templates."""
    return {action.value: bool(place and place.may(action)) for action in Action}
