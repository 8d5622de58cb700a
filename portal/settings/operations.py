"""Change how an organization's portal looks."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from organizations.audit import Actor, record
from organizations.limits import hold_limits
from organizations.models import Organization
from portal.models import PortalAppearance


@transaction.atomic
def change_appearance(*, organization: Organization, values: Mapping[str, Any], actor: Actor) -> PortalAppearance:
    """Set these fields, which were checked; the audit entry tells each field's old and new value."""
    hold_limits(organization.pk)  # two changes at once wait for each other
    found: PortalAppearance
    found, _ = PortalAppearance.objects.get_or_create(organization=organization)
    differences = {
        name: [getattr(found, name), value] for name, value in values.items() if getattr(found, name) != value
    }
    if differences:
        for name, (_before, value) in differences.items():
            setattr(found, name, value)
        found.save(update_fields=list(differences))
        record(
            actor=actor, action="portal.updated", target=organization, organization=organization, changes=differences
        )
    return found
