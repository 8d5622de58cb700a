"""Who gets in: the cookie of a portal's session, the token of its forms, and the decorator of every page.

The console's session, its cookies and its protection of forms play no part here. In a frame on another site browsers
keep cookies apart by the site around it (CHIPS), and Django's own token would need a second one of that kind: a form of
the portal carries a token that follows from the session instead, which no other page can know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from console.pages import READ
from console.rendering import status_of
from core.problems import Problem
from delivery.models import Subscription
from organizations.audit import Actor, ActorKind, agent_of
from organizations.models import Organization
from portal.links import KEPT, find_session, is_over, portal_actor, subscriptions_of
from portal.models import PortalAppearance, PortalLink
from portal.pages.frames import for_frames
from rest.doors.client_address import client_address

P = ParamSpec("P")
PATH = "/portal/"


@dataclass(frozen=True, kw_only=True)
class Visit:
    """Somebody with a session of the portal."""

    link: PortalLink
    actor: Actor
    form_token: str

    @property
    def organization(self) -> Organization:
        organization: Organization = self.link.organization
        return organization

    @property
    def may_manage(self) -> bool:
        """Not while the organization is suspended: then its portal only shows."""
        return self.link.may_manage and self.organization.suspended_at is None

    def require_manage(self) -> None:
        """Raises Problem 403."""
        if self.organization.suspended_at is not None:
            raise Problem("organization_suspended")
        if not self.link.may_manage:
            raise Problem(
                "permission_denied",
                "This portal only shows. Ask whoever gave you the link for one that lets you change.",
            )

    def subscription(self, subscription_id: UUID) -> Subscription:
        """Http404 for what the portal does not show."""
        rows = subscriptions_of(self.link).select_related("organization")
        return get_object_or_404(rows, pk=subscription_id)


def portal_page(
    *, methods: tuple[str, ...] = READ, manages: bool = False
) -> Callable[[Callable[Concatenate[HttpRequest, Visit, P], HttpResponse]], Callable[..., HttpResponse]]:
    """A view of the portal. `manages`: it is only for those who may change something, and not while suspended."""

    def decorate(view: Callable[Concatenate[HttpRequest, Visit, P], HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def answer(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            token = request.COOKIES.get(cookie_name(), "")
            link = find_session(token)
            if link is None or is_over(link, now=timezone.now()):
                return session_over(request, link)
            visit = Visit(link=link, actor=portal_actor(link, visitor_of(request)), form_token=form_token(token))
            try:
                if manages:
                    visit.require_manage()
                if request.method not in READ:
                    _require_token(request, visit)
                response = view(request, visit, *args, **kwargs)
            except Http404:
                response = render_portal(request, "portal/not_found.html", {}, visit=visit, status=404)
            except Problem as problem:
                context = {"problem": problem}
                response = render_portal(
                    request, "portal/problem.html", context, visit=visit, status=problem.status_code
                )
            return for_frames(request, response, appearance_of(link))

        return csrf_exempt(require_http_methods(list(methods))(answer))

    return decorate


def render_portal(
    request: HttpRequest, template: str, context: dict[str, Any], *, visit: Visit, status: int = 0
) -> HttpResponse:
    """A page with what they all share."""
    shared = {
        "visit": visit,
        "organization": visit.organization,
        "appearance": appearance_of(visit.link),
        "csrf_token": visit.form_token,
        # What the console's pages ask for that are shown here too.
        "frame": "portal/base.html",
        "area": ("portal",),
        "noun": "endpoint",
        "may": {
            "see_payloads": True,
            "manage_subscriptions": visit.may_manage,
            "retry_deliveries": visit.may_manage,
        },
        "done": request.GET.get("done", ""),
    }
    return render(request, template, {**shared, **context}, status=status or status_of(context))


def session_over(request: HttpRequest, link: PortalLink | None, *, status: int = 403, why: str = "") -> HttpResponse:
    """The page for whoever has no session, or none any more: it says what to do."""
    appearance = appearance_of(link) if link else None
    context = {"link": link, "appearance": appearance, "why": why or ("over" if link else "none")}
    return for_frames(request, render(request, "portal/over.html", context, status=status), appearance)


def appearance_of(link: PortalLink) -> PortalAppearance | None:
    """How the portal of its organization looks, if that was ever said."""
    found: PortalAppearance | None = getattr(link.organization, "portal_appearance", None)
    return found


def visitor_of(request: HttpRequest) -> Actor:
    return Actor(kind=ActorKind.PORTAL, label="portal", address=client_address(request), user_agent=agent_of(request))


def form_token(session: str) -> str:
    return salted_hmac("portal.form", session, algorithm="sha256").hexdigest()


def set_session(response: HttpResponse, link: PortalLink, session: str) -> None:
    """The cookie outlives the session, so that the page after it still knows who may embed it."""
    lasts = link.expires_at + KEPT - timezone.now()
    response.set_cookie(
        cookie_name(),
        session,
        max_age=max(timedelta(), lasts),
        path=PATH,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    appearance = appearance_of(link)
    if settings.SESSION_COOKIE_SECURE and appearance and appearance.frame_ancestors:
        # Python before 3.14 knows no attribute Partitioned, so it comes along with its neighbour.
        response.cookies[cookie_name()]["samesite"] = "None; Partitioned"


def cookie_name() -> str:
    """With this prefix browsers take it from nobody who could not set it over TLS."""
    return "__Secure-portal" if settings.SESSION_COOKIE_SECURE else "portal"


def _require_token(request: HttpRequest, visit: Visit) -> None:
    given = request.POST.get("csrfmiddlewaretoken", "")
    if not constant_time_compare(given, visit.form_token):
        raise Problem(
            "permission_denied", "This page is of another session. Go back, load it again, and repeat what you did."
        )
