"""`/api/v1/organization`."""

from typing import ClassVar

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.times import format_time
from organizations.api import organization_schemas
from organizations.keys.authentication import caller_of
from organizations.models import Organization
from organizations.usage import usage_of


class OrganizationView(APIView):
    """The caller's own organization: plan, limits, usage."""

    scopes: ClassVar[dict[str, str]] = {}
    operations = organization_schemas.ORGANIZATION

    def get(self, request: Request) -> Response:
        organization = Organization.objects.get(pk=caller_of(request).organization_id)
        return Response(
            {
                "id": str(organization.id),
                "name": organization.name,
                "slug": organization.slug,
                "plan": organization.plan,
                "suspended": organization.suspended_at is not None,
                "limits": vars(organization.limits),
                "usage": usage_of(organization.pk, now=timezone.now()),
                "created_at": format_time(organization.created_at),
            }
        )
