"""What rest and the rooms above it need of Django and the REST framework under private names."""

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.request import Request


def django_request(request: Request) -> HttpRequest:
    """Django's own request. `Request._request`: the REST framework hands it out in no other way."""
    return request._request


def known_user(request: HttpRequest) -> Any:
    """Who is signed in, when that was looked up already; else None.

    `_cached_user` is where Django's AuthenticationMiddleware keeps what `request.user` found; to ask `request.user`
    would query the database.
    """
    return getattr(request, "_cached_user", None)


def close_request(request: HttpRequest | None, response: HttpResponseBase) -> None:
    """Now, and not with the response, which would hold it until then: a lease may wait, and a stream go on for hours.

    Its body was read whole. Whatever the answer still needs of it, the answer holds itself.
    """
    if request is not None:
        response._resource_closers.remove(request.close)  # type: ignore[attr-defined] # not in the stubs
        request.close()


def tell_finished(response: HttpResponseBase, handler: type) -> None:
    """Have the response send `request_finished` for `handler` when it is closed.

    Django's handlers set `_handler_class` themselves, but the one for ASGI in a method that awaits.
    """
    response._handler_class = handler  # type: ignore[attr-defined] # not in the stubs
