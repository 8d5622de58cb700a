from typing import TYPE_CHECKING

from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from benchmarks.textbook.models import Organization

if TYPE_CHECKING:
    from rest_framework.views import APIView


class OrganizationThrottle(SimpleRateThrottle):
    """DRF's UserRateThrottle with the organization's own limit."""

    scope = "organization"
    rate = "100/min"

    def get_cache_key(self, request: Request, view: "APIView") -> str | None:
        return self.cache_format % {"scope": self.scope, "ident": request.user.pk}

    def allow_request(self, request: Request, view: "APIView") -> bool:
        if isinstance(request.user, Organization):
            self.num_requests = request.user.events_per_minute
        return super().allow_request(request, view)
