"""The decorator of every view of an organization: signs in, enters, requires, and answers errors with a page."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import resolve_url
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_http_methods

from console.access import Action, OrganizationContext, resolve, roles_with
from console.rendering import render_page
from core.problems import Problem
from rest.doors.streams import wants_stream

P = ParamSpec("P")
LAST_ORGANIZATION = "console_organization"
READ = ("GET", "HEAD")
WRITE = ("POST",)
_PAGES = {"organization_suspended": "console/suspended.html"}


def organization_page(
    action: Action, *, methods: tuple[str, ...] = READ
) -> Callable[
    [Callable[Concatenate[HttpRequest, OrganizationContext, P], HttpResponseBase]], Callable[..., HttpResponseBase]
]:
    """A view of an organization's page; the URL's `slug` becomes the OrganizationContext, whose person may do `action`.

    Nobody signed in → the sign-in page; a stranger, or an object that is not there → 404; not allowed → 403; a Problem
    of an operation → a page with its words and its status. While the organization is suspended every form is a 403.
    """

    def decorate(
        view: Callable[Concatenate[HttpRequest, OrganizationContext, P], HttpResponseBase],
    ) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def answer(request: HttpRequest, slug: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            place = None
            try:
                place = resolve(cast(User, request.user), slug)
                place.require(action)
                if request.method not in READ:
                    place.refuse_if_suspended()
                remember(request, slug)
                return view(request, place, *args, **kwargs)
            except Http404:
                return not_found(request, place)
            except PermissionDenied as denied:
                wanted = denied.args[0] if denied.args else action
                return forbidden(request, place, wanted if isinstance(wanted, Action) else action)
            except Problem as problem:
                template = _PAGES.get(problem.problem_type.code, "console/problem.html")
                return render_page(request, template, {"problem": problem}, place=place, status=problem.status_code)

        return require_http_methods(list(methods))(signed_in(answer))

    return decorate


def signed_in(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Sends whoever is not signed in to the sign-in page, and htmx with the whole window. No proxy keeps a page."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_authenticated:
            response = view(request, *args, **kwargs)
            patch_cache_control(response, private=True, no_cache=True)
            return response
        if wants_stream(request):
            return HttpResponse(status=403)  # a redirect would be followed silently
        if request.headers.get("HX-Request"):
            # The answer must not be swapped into a part of the page; 403, as a redirect would be followed silently.
            here = request.headers.get("HX-Current-URL", "")
            path = "/" + here.split("://", 1)[-1].partition("/")[2]
            target = f"{resolve_url('console:sign-in')}?{urlencode({'next': path})}"
            return HttpResponse(status=403, headers={"HX-Redirect": target})
        return redirect_to_login(request.get_full_path(), resolve_url("console:sign-in"))

    return answer


def forbidden(request: HttpRequest, place: OrganizationContext | None, action: Action) -> HttpResponse:
    """The page of what a person may not do, and whom to ask."""
    context = {"roles": roles_with(action), "is_about_payloads": action is Action.SEE_PAYLOADS}
    return render_page(request, "console/forbidden.html", context, place=place, status=403)


def not_found(request: HttpRequest, place: OrganizationContext | None = None) -> HttpResponse:
    """The page of whatever is not there, or not for this person."""
    return render_page(request, "console/not_found.html", {}, place=place, status=404)


def remember(request: HttpRequest, slug: str) -> None:
    """The organization that `/console/` leads to next time; not what a page in the background asks for."""
    in_background = request.headers.get("HX-Request") or wants_stream(request)
    if not in_background and request.session.get(LAST_ORGANIZATION) != slug:
        request.session[LAST_ORGANIZATION] = slug


def words_of(problem: Problem) -> str:
    """What went wrong, for people: of each field, or else of the whole."""
    return " ".join(error.detail for error in problem.errors) or str(problem.detail)
