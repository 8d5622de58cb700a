"""Which sites may embed an answer of the portal, and what of theirs a page may load."""

from typing import Any, cast

from csp.decorators import csp_replace
from django.http import HttpRequest, HttpResponse

from portal.models import PortalAppearance
from portal.settings.rules import origin_of


def for_frames(request: HttpRequest, response: HttpResponse, appearance: PortalAppearance | None) -> HttpResponse:
    """The answer with the rules of the organization's portal: without any, nobody embeds it."""
    policy: dict[str, Any] = {}
    if appearance and appearance.frame_ancestors:
        policy["frame-ancestors"] = appearance.frame_ancestors
        # The older header knows no list of origins, and would forbid all of them.
        response.xframe_options_exempt = True
    if appearance and appearance.logo_url:
        policy["img-src"] = ["'self'", "data:", origin_of(appearance.logo_url)]
    if not policy:
        return response
    return cast(HttpResponse, csp_replace(policy)(lambda _: response)(request))
