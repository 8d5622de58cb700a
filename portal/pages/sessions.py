"""Open a link, sign out, and the colours of the organization."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from portal.links import end_session, open_link
from portal.pages.entry import Visit, appearance_of, portal_page, session_over, set_session, visitor_of
from portal.pages.frames import for_frames
from portal.settings.rules import ink_on


@require_http_methods(["GET"])  # no HEAD: whoever only looks at an address must not use the link up
def open_portal(request: HttpRequest, token: str) -> HttpResponse:
    """The link: a session, this one time."""
    if "prefetch" in request.headers.get("Sec-Purpose", ""):
        return HttpResponse(status=503)
    now = timezone.now()
    found = open_link(token=token, actor=visitor_of(request), now=now)
    if found is None:
        return session_over(request, None, status=404, why="unknown")
    link, session = found
    if session is None:
        return session_over(request, link, status=410, why="used" if link.used_at else "expired")
    response = redirect("portal:subscriptions")
    set_session(response, link, session)
    return for_frames(request, response, appearance_of(link))


@portal_page(methods=("POST",))
def sign_out(request: HttpRequest, visit: Visit) -> HttpResponse:
    end_session(link=visit.link, now=timezone.now())
    return session_over(request, visit.link, status=200, why="signed out")


@portal_page()
def theme(request: HttpRequest, visit: Visit) -> HttpResponse:
    """The organization's colours as a style sheet, since the security policy allows none in a page."""
    appearance = appearance_of(visit.link)
    colors = {"light": appearance.accent, "dark": appearance.accent_dark} if appearance else {}
    # As specific as the rules of static/platform.css, which stand before it.
    root = ":root:not([data-theme])"
    rules = [
        f"@media (prefers-color-scheme: {scheme}) {{ {root} {{ --accent: {color}; --on-accent: {ink_on(color)}; }} }}"
        for scheme, color in colors.items()
        if color
    ]
    return HttpResponse("\n".join(rules), content_type="text/css")
