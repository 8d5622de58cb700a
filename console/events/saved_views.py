"""Saved views: every path starts from the organization and the owner."""

from django.contrib.auth.models import User
from django.db import transaction

from console.models import SavedView
from core.problems import Problem
from organizations.limits import hold_limits
from organizations.models import Organization


def views_of(user: User, organization: Organization) -> list[SavedView]:
    """By name."""
    own = SavedView.objects.for_organization(organization.pk).of(user.pk)
    return list(own[: organization.limits.saved_views])


@transaction.atomic
def save_view(*, user: User, organization: Organization, name: str, query: str) -> SavedView:
    """Keep a query under a name; one of that name is replaced. Raises Problem 409 when there are too many."""
    own = SavedView.objects.for_organization(organization.pk).of(user.pk)
    most = hold_limits(organization.pk).saved_views
    if own.exclude(name=name).count() >= most:
        raise Problem("limit_reached", f"You can save at most {most} views. Delete one first.")
    view, _ = SavedView.objects.update_or_create(
        owner=user, organization=organization, name=name, defaults={"query": query}
    )
    return view


def delete_view(*, user: User, organization: Organization, view_id: int) -> bool:
    """Whether there was one of this person's to delete."""
    deleted, _ = SavedView.objects.for_organization(organization.pk).of(user.pk).filter(pk=view_id).delete()
    return deleted > 0
