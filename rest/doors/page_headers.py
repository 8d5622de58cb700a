"""Headers that Django does not set by itself."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

GetResponse = Callable[[HttpRequest], HttpResponse]

# Pages use none of these; a script that got in shall not either. Passkeys are asked for by a page of our own.
PERMISSIONS_POLICY = (
    "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), serial=(), usb=(), "
    "publickey-credentials-get=(self)"
)
_PRIVATE = ("/console/", "/account/", "/admin/", "/portal/", "/api/v1/")


class PageHeadersMiddleware:
    """Permissions-Policy on everything, `no-store` on what is not for everyone: pages, and the API's answers."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        if request.path.startswith(_PRIVATE) and "no-store" not in response.get("Cache-Control", ""):
            # The back button of a shared computer shows nothing after somebody has signed out.
            response["Cache-Control"] = "private, no-store"
        return response
