"""Forms are UTF-8. With another charset, that anyone can name, they could hold what cannot be stored or decoded."""

from collections.abc import Callable

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse

GetResponse = Callable[[HttpRequest], HttpResponse]
_TAKEN = {"utf-8", "utf8", "us-ascii"}


class FormCharsetMiddleware:
    """For pages; the API's own parsers name the charset that they refuse."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith("/api/") and (request.encoding or "utf-8").lower() not in _TAKEN:
            raise BadRequest("Send forms as UTF-8.")
        return self.get_response(request)
