"""The one look-up of what belongs to an organization, for the API and the console."""

from uuid import UUID

from django.shortcuts import get_object_or_404

from organizations.models import ApiKey


def own_key(organization_id: UUID, key_id: UUID) -> ApiKey:
    """With its organization, revoked or not; Http404 for another's."""
    return get_object_or_404(ApiKey.objects.for_organization(organization_id).select_related("organization"), pk=key_id)
