"""Organizations as people name them at a terminal."""

from uuid import UUID

from django.core.management.base import CommandError

from organizations.models import Organization


def find_organization(named: str) -> Organization:
    """By slug or id; a CommandError when there is none."""
    found = Organization.objects.filter(slug=named).first()
    if found is None:
        try:
            found = Organization.objects.filter(pk=UUID(named)).first()
        except ValueError:
            found = None
    if found is None:
        raise CommandError(f"There is no organization {named!r}.")
    return found
