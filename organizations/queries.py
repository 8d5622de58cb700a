"""The one look-up of what belongs to an organization, for the API and the console; and which keys are good still."""

from collections.abc import Collection
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now
from django.shortcuts import get_object_or_404

from organizations.models import ApiKey


def own_key(organization_id: UUID, key_id: UUID) -> ApiKey:
    """With its organization, revoked or not; Http404 for another's."""
    return get_object_or_404(ApiKey.objects.for_organization(organization_id).select_related("organization"), pk=key_id)


def good_keys(key_ids: Collection[UUID]) -> set[UUID]:
    """Those of the keys that may be used now: not revoked, not expired, of no suspended organization. By one query."""
    is_in_time = Q(expires_at=None) | Q(expires_at__gt=Now())
    keys = ApiKey.objects.filter(is_in_time, pk__in=key_ids, revoked_at=None, organization__suspended_at=None)
    return set(keys.values_list("pk", flat=True))
