"""`/api/v1/portal-links`."""

from datetime import timedelta

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.decoding import decode
from core.times import format_time
from ingestion.formats.decoding import require_utf8_bytes
from organizations.keys.authentication import actor_of, caller_of
from organizations.keys.scopes import Scope
from organizations.models import Organization
from portal.api import schemas
from portal.api.schemas import NewPortalLink, PortalLinkCreated
from portal.links import LinkRequest, create_link
from rest.parsing import read_body

# A link keeps its filter, and there may be many.
BODY_LIMIT = 16 * 1024


class PortalLinksView(APIView):
    """Make a link into the portal."""

    scopes = {"POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = schemas.PORTAL_LINKS

    def post(self, request: Request) -> Response:
        body = read_body(request, limit=BODY_LIMIT)
        require_utf8_bytes(body)
        wanted = decode(body, NewPortalLink)
        caller = caller_of(request)
        link, token = create_link(
            organization=Organization.objects.get(pk=caller.organization_id),
            wanted=LinkRequest(
                tag=wanted.tag or "",
                subscription_ids=wanted.subscriptions or [],
                may_manage="manage" in wanted.permissions,
                filter=wanted.filter,
                lifetime=timedelta(seconds=wanted.expires_in),
            ),
            key_id=caller.key_id,
            actor=actor_of(request),
            now=timezone.now(),
        )
        url = f"{settings.PUBLIC_URL}{reverse('portal:open', args=[token])}"
        return Response(PortalLinkCreated(url=url, expires_at=format_time(link.expires_at)), status=201)
